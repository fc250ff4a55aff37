"""Which instance of a service gets a call."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

import aiohttp
import pytest

from tests.traffic.answers import within
from tests.traffic.bed import Bed
from tests.traffic.documents import policy
from tests.traffic.waiting import until

pytestmark = [pytest.mark.e2e, pytest.mark.asyncio(loop_scope="session")]

APIS = ("api-1", "api-2", "api-3")
KEYS = [f"user-{number}" for number in range(40)]


def strategy(conf: str, *, service: str = "api") -> dict[str, Any]:
    return policy("MeshLoadBalancingStrategy", f"{{{conf}}}", service=service)


async def in_turn(bed: Bed, count: int, **options: Any) -> Counter[str]:
    return Counter([(await bed.call(**options)).instance for _ in range(count)])


async def test_round_robin_is_even(bed: Bed) -> None:
    await bed.apply(strategy("loadBalancer: {type: RoundRobin}"))
    assert await in_turn(bed, 30) == dict.fromkeys(APIS, 10)


async def test_least_request_prefers_the_fast(bed: Bed) -> None:
    await bed.apply(strategy("loadBalancer: {type: LeastRequest, leastRequest: {choiceCount: 3}}"))
    bed.apps["api-1"].behaviour.delay = 0.25
    found = await bed.tally(80)
    assert found.total() == 80
    assert found["api-1"] <= 12
    assert min(found["api-2"], found["api-3"]) > 20


async def test_random_asks_everybody(bed: Bed) -> None:
    await bed.apply(strategy("loadBalancer: {type: Random}"))
    found = await in_turn(bed, 120)
    assert all(within(found[name], 120, 1 / 3) for name in APIS)
    assert found != dict.fromkeys(APIS, 40) or await in_turn(bed, 60) != dict.fromkeys(APIS, 20)


async def _sticky(bed: Bed, ask: Any) -> None:
    """Hold that equal keys go to one instance, of each caller, and that keys are spread."""
    first = [await ask(key, "web") for key in KEYS]
    assert [await ask(key, "web") for key in KEYS] == first
    assert [await ask(key, "admin") for key in KEYS] == first
    counted = Counter(first)
    assert counted.keys() == set(APIS)
    assert max(counted.values()) < len(KEYS) * 0.75


async def test_ring_hash_by_header(bed: Bed) -> None:
    hashed = "hashPolicies: [{type: Header, header: {name: X-User}}]"
    await bed.apply(strategy(f"loadBalancer: {{type: RingHash}}, {hashed}"))

    async def ask(key: str, caller: str) -> str:
        return (await bed.call(caller=caller, headers={"x-user": key})).instance

    await _sticky(bed, ask)


async def test_maglev_by_query(bed: Bed) -> None:
    hashed = "hashPolicies: [{type: Query, query: {name: user}}]"
    await bed.apply(
        strategy(f"loadBalancer: {{type: Maglev, maglev: {{tableSize: 251}}}}, {hashed}")
    )

    async def ask(key: str, caller: str) -> str:
        return (await bed.call(f"/?user={key}&noise={caller}", caller=caller)).instance

    await _sticky(bed, ask)


async def test_by_source_address(bed: Bed) -> None:
    hashed = "hashPolicies: [{type: SourceIP}]"
    await bed.apply(strategy(f"loadBalancer: {{type: RingHash}}, {hashed}"))
    assert len(await in_turn(bed, 20)) == 1


async def test_tcp_by_source_address(bed: Bed) -> None:
    hashed = "hashPolicies: [{type: SourceIP}]"
    await bed.apply(strategy(f"loadBalancer: {{type: Maglev}}, {hashed}", service="store"))
    assert len({await bed.dial() for _ in range(10)}) == 1


async def test_session_affinity_by_a_cookie_that_the_proxy_sets(bed: Bed) -> None:
    cookie = "{type: Cookie, cookie: {name: session, ttl: 1h, path: /}}"
    await bed.apply(strategy(f"loadBalancer: {{type: RingHash}}, hashPolicies: [{cookie}]"))
    homes = set()
    for _ in range(12):
        # Connections of its own: Envoy makes the cookie's value from the connection's addresses.
        async with aiohttp.ClientSession(cookie_jar=aiohttp.CookieJar(unsafe=True)) as client:
            seen = []
            for turn in range(4):
                async with client.get(bed.url("api")) as answer:
                    seen.append(answer.headers["x-instance"])
                    assert ("set-cookie" in answer.headers) is (turn == 0)
                    if turn == 0:
                        said = answer.headers["set-cookie"]
                        assert said.startswith("session=")
                        assert "Max-Age=3600" in said
                        assert "Path=/" in said
        assert len(set(seen)) == 1
        homes.add(seen[0])
    assert len(homes) > 1


async def _weigh(bed: Bed, instance: str, weight: int) -> None:
    """Let Consul give an instance of ``api`` another weight, and wait until callers know."""
    file = bed.estate.consul_token_file
    headers = {"X-Consul-Token": file.read_text().strip()} if file is not None else {}
    url = f"{bed.estate.consul_url}/v1/agent/services"
    async with bed.session.get(url, headers=headers) as answer:
        known = (await answer.json())[f"{instance}-sidecar-proxy"]
    kept = ("ID", "Kind", "Tags", "Meta", "Port", "Address", "Proxy")
    definition = {key: known[key] for key in kept} | {"Name": known["Service"]}
    definition["Weights"] = {"Passing": weight, "Warning": weight}
    await bed.consul.agent_register(definition)

    async def told() -> bool | None:
        found = await bed.resource("web", "ClusterLoadAssignment", "api")
        weights = [
            each["load_balancing_weight"]
            for group in found["endpoints"]
            for each in group["lb_endpoints"]
            if each["endpoint"]["address"]["socket_address"]["port_value"] == known["Port"]
        ]
        return weights == [weight] or None

    await until(f"web knows the weight of {instance}", told)
    await bed.in_sync()


async def test_weights_of_consul(bed: Bed) -> None:
    await bed.apply(strategy("loadBalancer: {type: RoundRobin}"))
    await _weigh(bed, "api-3", 4)
    try:
        found = await in_turn(bed, 60)
    finally:
        await _weigh(bed, "api-3", 1)
    assert found == {"api-1": 10, "api-2": 10, "api-3": 40}


async def test_the_near_are_preferred_while_they_are_healthy(bed: Bed) -> None:
    pace = "interval: 100ms, timeout: 2s, unhealthyThreshold: 1, healthyThreshold: 1"
    await bed.apply(
        strategy("localityAwareness: {preferLocal: true}"),
        policy("MeshHealthCheck", f"{{{pace}, probe: {{type: Http, path: /healthz}}}}"),
    )

    async def served_by(*expected: str) -> None:
        async def ask() -> bool | None:
            return (await bed.tally(12)).keys() == set(expected) or None

        await until(f"api is served by {', '.join(expected)}", ask)

    await served_by("api-1")
    assert await bed.tally(30) == {"api-1": 30}
    bed.apps["api-1"].behaviour.paths["/healthz"] = 500
    await served_by("api-2", "api-3")
    del bed.apps["api-1"].behaviour.paths["/healthz"]
    await served_by("api-1")


async def test_the_far_take_over_when_no_near_instance_is_left(bed: Bed) -> None:
    await bed.apply(strategy("localityAwareness: {preferLocal: true}"))
    assert await bed.tally(20) == {"api-1": 20}
    async with bed.down("api-1"):

        async def taken_over() -> bool | None:
            return (await bed.tally(12)).keys() == {"api-2", "api-3"} or None

        await until("the others take over", taken_over)
    assert await bed.tally(20) == {"api-1": 20}


async def test_the_near_get_more_of_the_calls_and_the_others_some(bed: Bed) -> None:
    shared = "localityAwareness: {localZone: {affinityTags: [{key: locality, weight: 3}]}}"
    await bed.apply(strategy(f"loadBalancer: {{type: RoundRobin}}, {shared}"))
    found = await in_turn(bed, 60)
    assert found["api-1"] == 45
    assert {found["api-2"], found["api-3"]} <= {7, 8}
    # A label that nobody shares leaves everybody his part.
    other = "localityAwareness: {localZone: {affinityTags: [{key: rack, weight: 3}]}}"
    await bed.apply(strategy(f"loadBalancer: {{type: RoundRobin}}, {other}"))
    assert await in_turn(bed, 60) == {"api-1": 20, "api-2": 20, "api-3": 20}


async def test_slow_start_serves(bed: Bed) -> None:
    slow = "slowStart: {window: 10s, aggression: 2}"
    for algorithm in ("RoundRobin", "LeastRequest"):
        await bed.apply(strategy(f"loadBalancer: {{type: {algorithm}}}, {slow}"))
        found = await asyncio.gather(*(bed.call() for _ in range(20)))
        assert {answer.status for answer in found} == {200}
        text = str(await bed.resource("web", "Cluster", "api"))
        assert "'slow_start_window': '10s'" in text
