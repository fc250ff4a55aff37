"""What two valid documents say together is valid: it is what one document would say."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from mesh.model.destinations import Settings, Target
from mesh.model.requests import EVERYTHING
from mesh.model.services import Protocol
from mesh.model.traffic import Forward, Route, Share
from mesh.model.violations import InvalidInputError
from mesh.policies import defaults
from mesh.policies.kind import Kind
from mesh.policies.kinds import circuit_breaker, health_check, load_balancing, retry
from tests.policies.kinds import documents
from tests.policies.kinds.on_envoy import validated

_durations = st.sampled_from(("10ms", "1s", "2m"))
_counts = st.integers(1, 9)
_flags = st.booleans()


def _some(**fields: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries({}, optional=fields)


_pace = _some(baseInterval=_durations, maxInterval=_durations)
_budget = _some(percent=st.integers(0, 100), minConcurrency=_counts)
_on = st.lists(st.sampled_from(("5XX", "Reset", 429, "HttpMethodGet")), max_size=3)
_common = {"numRetries": st.integers(0, 3), "perTryTimeout": _durations, "backOff": _pace}
_retries = _some(
    tcp=_some(maxConnectAttempts=_counts),
    http=_some(**_common, retryOn=_on, budget=_budget),
    grpc=_some(**_common, retryOn=st.lists(st.sampled_from(("Unavailable", "Internal")))),
)
_sizes = st.sampled_from((1, 64, 2048))
_hashes = st.sampled_from(
    ({"type": "SourceIP"}, {"type": "Cookie", "cookie": {"name": "s", "ttl": "1s"}})
)
_balancings = _some(
    loadBalancer=_some(
        type=st.sampled_from(("RoundRobin", "LeastRequest", "RingHash", "Maglev", "Random")),
        leastRequest=_some(choiceCount=st.integers(2, 4)),
        ringHash=_some(minRingSize=_sizes, maxRingSize=_sizes),
        maglev=_some(tableSize=st.sampled_from((251, 65537))),
    ),
    hashPolicies=st.lists(_hashes, max_size=2),
    slowStart=_some(window=_durations, aggression=st.sampled_from((0.5, 2))),
    localityAwareness=_some(preferLocal=_flags),
)
_consecutive = _some(disabled=_flags, consecutive=_counts)
_breakers = _some(
    connectionLimits=_some(maxConnections=_counts, maxRetries=_counts),
    outlierDetection=_some(
        disabled=_flags,
        baseEjectionTime=_durations,
        maxEjectionTime=_durations,
        splitExternalAndLocalErrors=_flags,
        detectors=_some(
            totalFailures=_consecutive,
            gatewayFailures=_consecutive,
            localOriginFailures=_consecutive,
            successRate=_some(disabled=_flags, minimumHosts=_counts),
            failurePercentage=_some(disabled=_flags, threshold=_counts),
        ),
    ),
)
_probes: st.SearchStrategy[dict[str, str]] = st.one_of(
    st.just({"type": "Tcp"}),
    st.builds(dict, type=st.just("Http"), path=st.sampled_from(("/a", "/b"))),
    st.builds(dict, type=st.just("Grpc"), serviceName=st.sampled_from(("a", "b"))),
)
_checks = _some(disabled=_flags, interval=_durations, healthyThreshold=_counts, probe=_probes)

KINDS = (
    (retry.KIND, _retries),
    (load_balancing.KIND, _balancings),
    (circuit_breaker.KIND, _breakers),
    (health_check.KIND, _checks),
)
PLAIN = Route(EVERYTHING, Forward((Share(Target("api")),)))


@pytest.mark.parametrize(("kind", "strategy"), KINDS, ids=lambda one: getattr(one, "name", ""))
@settings(max_examples=40)
@given(data=st.data())
def test_two_documents_say_what_one_would(
    kind: Kind, strategy: st.SearchStrategy[dict[str, Any]], data: st.DataObject
) -> None:
    valid = strategy.filter(lambda default: _is_valid(kind, default))
    general, specific = data.draw(valid), data.draw(valid)
    together = _patched(general, specific)
    assume(_is_valid(kind, together))

    assert documents.conf_of(kind, general, specific) == documents.conf_of(kind, together)


@settings(max_examples=3, deadline=None)
@given(data=st.data())
def test_envoy_takes_whatever_two_documents_say_together(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    pairs = {
        kind.name: data.draw(st.lists(st.tuples(strategy, strategy), min_size=10, max_size=20))
        for kind, strategy in KINDS
    }
    routes: list[Route] = []
    clusters: list[tuple[Settings, Protocol]] = []
    for kind, _ in KINDS:
        for general, specific in pairs[kind.name]:
            if not (_is_valid(kind, general) and _is_valid(kind, specific)):
                continue
            conf = documents.conf_of(kind, general, specific)
            for protocol in Protocol:
                if kind.on_route is not None and protocol.is_http:
                    routes.append(kind.on_route(conf, PLAIN, protocol))
                assert kind.on_target is not None
                clusters += [
                    (kind.on_target(conf, before, protocol), protocol)
                    for before in (Settings(), defaults.SETTINGS)
                ]

    validated(routes, clusters, tmp_path_factory.mktemp("envoy"))


def _is_valid(kind: Kind, default: dict[str, Any]) -> bool:
    try:
        documents.about_api(kind, default)
    except InvalidInputError:
        return False
    return True


def _patched(general: Mapping[str, Any], specific: Mapping[str, Any]) -> dict[str, Any]:
    """Apply RFC 7396, but choose anew where the choice differs."""
    found = dict(general)
    for key, value in specific.items():
        before = found.get(key)
        if isinstance(before, dict) and isinstance(value, dict):
            same = key != "probe" or before["type"] == value["type"]
            found[key] = _patched(before, value) if same else value
        else:
            found[key] = value
    return found
