"""MeshLoadBalancingStrategy: the algorithm, what is hashed, the near first."""

from __future__ import annotations

from dataclasses import replace

import pytest

from mesh.model.destinations import (
    Balancing,
    HashKind,
    HashPolicy,
    LoadBalancing,
    Settings,
    ZoneRule,
)
from mesh.model.services import Protocol
from mesh.policies.kinds.load_balancing import KIND
from tests.policies.kinds import documents, reading


def _balancing(
    *said: str, before: LoadBalancing | None = None, protocol: Protocol = Protocol.HTTP
) -> LoadBalancing:
    assert KIND.on_target is not None
    settings = Settings(balancing=before or LoadBalancing())
    found = KIND.on_target(documents.conf_of(KIND, *said), settings, protocol)
    assert found == replace(settings, balancing=found.balancing)
    return found.balancing


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ("{type: RoundRobin}", LoadBalancing(Balancing.ROUND_ROBIN)),
        ("{type: Random}", LoadBalancing(Balancing.RANDOM)),
        (
            "{type: LeastRequest, leastRequest: {choiceCount: 4}}",
            LoadBalancing(Balancing.LEAST_REQUEST, choices=4),
        ),
        (
            "{type: RingHash, ringHash: {minRingSize: 64, maxRingSize: 128}}",
            LoadBalancing(Balancing.RING_HASH, min_ring=64, max_ring=128),
        ),
        (
            "{type: Maglev, maglev: {tableSize: 65537}}",
            LoadBalancing(Balancing.MAGLEV, table_size=65537),
        ),
    ],
)
def test_each_algorithm(said: str, expected: LoadBalancing) -> None:
    assert _balancing(f"loadBalancer: {said}") == expected


def test_what_is_hashed() -> None:
    found = _balancing("""
        hashPolicies:
          - {type: Header, header: {name: X-User}, terminal: true}
          - {type: Cookie, cookie: {name: session, ttl: 0s, path: /}}
          - {type: Query, query: {name: user}}
          - {type: SourceIP}
        """)

    assert found.hashing == (
        HashPolicy(HashKind.HEADER, "x-user", terminal=True),
        HashPolicy(HashKind.COOKIE, "session", 0.0, "/"),
        HashPolicy(HashKind.QUERY, "user"),
        HashPolicy(HashKind.SOURCE_IP),
    )


def test_of_a_connection_only_the_source_can_be_hashed() -> None:
    said = "hashPolicies: [{type: Header, header: {name: a}}, {type: SourceIP}]"

    assert _balancing(said, protocol=Protocol.TCP).hashing == (HashPolicy(HashKind.SOURCE_IP),)


def test_slow_start_and_locality() -> None:
    found = _balancing("""
        slowStart: {window: 30s, aggression: 2}
        localityAwareness: {preferLocal: true}
        """)

    assert found == LoadBalancing(slow_start=30.0, slow_start_aggression=2.0, local_first=True)


def test_calls_are_shared_out_by_tags() -> None:
    tags = "[{key: host}, {key: room}, {key: region}]"
    found = _balancing(f"localityAwareness: {{localZone: {{affinityTags: {tags}}}}}")
    assert [(one.key, one.weight) for one in found.affinity] == [
        ("host", 900),
        ("room", 90),
        ("region", 9),
    ]


def test_zones_stand_in_as_the_rules_say() -> None:
    found = _balancing("""
        localityAwareness:
          crossZone:
            failover:
              - {from: {zones: [here, near]}, to: {type: Only, zones: [west, east]}}
              - {to: {type: AnyExcept, zones: [far]}}
              - {to: {type: Any}}
              - {to: {type: None}}
            failoverThreshold: {percentage: 70}
        """)
    assert found.cross_zone == (
        ZoneRule(("here", "near"), ("west", "east")),
        ZoneRule((), ("far",), others=True),
        ZoneRule(others=True),
        ZoneRule(),
    )
    assert found.spill_below == 70
    assert _balancing("localityAwareness: {crossZone: {failover: []}}").cross_zone == ()


def test_what_is_unsaid_stays() -> None:
    before = LoadBalancing(
        Balancing.RING_HASH,
        min_ring=9,
        slow_start=1.0,
        hashing=(HashPolicy(HashKind.SOURCE_IP),),
        local_first=True,
    )

    assert _balancing("{loadBalancer: {ringHash: {maxRingSize: 99}}}", before=before) == replace(
        before, max_ring=99
    )
    assert _balancing("{slowStart: {window: 0s}}", before=before) == replace(
        before, slow_start=None
    )
    assert _balancing("{hashPolicies: []}", before=before) == replace(before, hashing=())


@pytest.mark.parametrize(
    "said",
    [
        ("{loadBalancer: {type: RingHash, ringHash: {maxRingSize: 64}}}",),
        (
            "{loadBalancer: {type: RingHash, ringHash: {maxRingSize: 64}}}",
            "{loadBalancer: {ringHash: {minRingSize: 512}}}",
        ),
    ],
)
def test_a_ring_is_never_smaller_than_its_least_size(said: tuple[str, ...]) -> None:
    found = _balancing(*said)

    assert (found.min_ring, found.max_ring) == (64, 64)


def test_everything_wrong_with_the_fields_is_told_at_once() -> None:
    found = reading.violations(
        KIND,
        """
        to:
          - targetRef: {kind: MeshService, name: api}
            default:
              loadBalancer:
                type: Fastest
                leastRequest: {choiceCount: 1}
                ringHash: {minRingSize: 0, maxRingSize: 9000000}
                maglev: {tableSize: 65536}
              hashPolicies:
                - {type: Header}
                - {type: Cookie, cookie: {name: "a b", ttl: 1, path: x}}
                - {type: SourceIP, header: {name: a}}
                - {type: Weather}
              slowStart: {aggression: 0}
              localityAwareness: {preferLocal: "yes"}
        """,
    )
    default = "spec.to[0].default"

    assert set(found) == {
        f"{default}.loadBalancer.type",
        f"{default}.loadBalancer.leastRequest.choiceCount",
        f"{default}.loadBalancer.ringHash.minRingSize",
        f"{default}.loadBalancer.ringHash.maxRingSize",
        f"{default}.loadBalancer.maglev.tableSize",
        f"{default}.hashPolicies[0].header",
        f"{default}.hashPolicies[1].cookie.name",
        f"{default}.hashPolicies[1].cookie.ttl",
        f"{default}.hashPolicies[1].cookie.path",
        f"{default}.hashPolicies[2].header",
        f"{default}.hashPolicies[3]",
        f"{default}.slowStart.aggression",
        f"{default}.localityAwareness.preferLocal",
    }
    assert "prime" in found[f"{default}.loadBalancer.maglev.tableSize"]


def test_everything_that_does_not_go_together_is_told_at_once() -> None:
    found = reading.violations(
        KIND,
        """
        to:
          - targetRef: {kind: MeshService, name: api}
            default:
              loadBalancer:
                type: Random
                maglev: {tableSize: 65537}
                ringHash: {minRingSize: 2, maxRingSize: 1}
              hashPolicies: [{type: SourceIP}]
              slowStart: {window: 1s}
              localityAwareness:
                preferLocal: true
                localZone: {affinityTags: [{key: room}]}
                crossZone:
                  failover: [{to: {type: Only}}, {to: {type: Any, zones: [west]}}]
        """,
    )
    aware = "spec.to[0].default.localityAwareness"

    assert found == {
        "spec.to[0].default.loadBalancer.maglev": "is for type Maglev, not Random",
        "spec.to[0].default.loadBalancer.ringHash": "minRingSize is greater than maxRingSize",
        "spec.to[0].default.hashPolicies": "Random hashes nothing; use RingHash or Maglev",
        "spec.to[0].default.slowStart": "Random has no slow start; use RoundRobin or LeastRequest",
        f"{aware}.localZone": "shares the calls out, which preferLocal does not; give one of them",
        f"{aware}.crossZone.failover[0].to.zones": "is needed with type Only",
        f"{aware}.crossZone.failover[1].to.zones": "says nothing with type Any",
    }
