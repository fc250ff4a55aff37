"""The verdict equals Consul's own, on random sets of intentions and under both defaults."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings

from mesh.model.intentions import Intention
from mesh.model.services import Protocol
from mesh.policies.intentions import Call, can_connect, judge
from tests.policies.consul_server import Consul, consul
from tests.policies.strategies import SERVICES, grouped, l4_intentions

_SETS = 250
"""Sets of intentions for each default."""

_CALLS = [
    *itertools.product(("web", "api"), ("web", "db", "unknown")),
    *itertools.product(("unknown",), ("web", "db")),
]
assert set(SERVICES) >= {"web", "api", "db"}


@pytest.fixture(scope="module", params=[False, True], ids=["default-deny", "default-allow"])
def oracle(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Consul, bool]]:
    """Run a Consul under each default."""
    directory: Path = tmp_path_factory.mktemp("consul")
    with consul(directory, default_allow=request.param) as server:
        yield server, request.param


def test_the_verdict_is_consuls(
    oracle: tuple[Consul, bool],
    request: pytest.FixtureRequest,
    capsys: pytest.CaptureFixture[str],
) -> None:
    server, default_allow = oracle
    compared = {"sets": 0, "calls": 0}

    @settings(
        max_examples=_SETS,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(l4_intentions())
    def compare(intentions: tuple[Intention, ...]) -> None:
        server.hold(intentions)
        held = grouped(intentions)
        for source, destination in _CALLS:
            expected = server.allows(source, destination)
            call = Call(source, destination, Protocol.TCP)
            verdict = judge(held, call, default_allow=default_allow)
            assert verdict.allowed is expected, (call, verdict)
            reachable = can_connect(
                held, source, destination, Protocol.TCP, default_allow=default_allow
            )
            assert reachable is expected
            compared["calls"] += 1
        compared["sets"] += 1

    compare()
    assert compared["sets"] >= _SETS
    told = (
        f"{compared['sets']} sets of intentions and {compared['calls']} calls compared with "
        f"Consul under a default of {'allow' if default_allow else 'deny'}"
    )
    with capsys.disabled():
        request.config.get_terminal_writer().line(f"\n{told}")
