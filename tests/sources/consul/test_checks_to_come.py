"""Checks that Consul's agent has yet to make after a restart are no news of an instance."""

from __future__ import annotations

import pytest

from mesh.clients.consul import HealthCheck, HealthEntry
from mesh.clients.consul.answers import AgentService, Node
from mesh.model.services import Health, Instance
from mesh.sources.consul.instances import parse_instances

FINE = HealthCheck("passing", type="http", output="HTTP GET: 200 OK")
TO_COME = HealthCheck("critical", type="tcp")
REFUSED = HealthCheck("critical", type="tcp", output="dial tcp: connection refused")


def entry(name: str, *checks: HealthCheck, version: str = "v1") -> HealthEntry:
    service = AgentService(
        "api-sidecar-proxy", id=name, address="10.0.0.1", port=20000, meta={"version": version}
    )
    return HealthEntry(Node("n", "10.0.0.1"), service, checks)


def healths(
    *entries: HealthEntry, known: tuple[Instance, ...] = ()
) -> tuple[tuple[Instance, ...], list[Health]]:
    found, problems = parse_instances("api", entries, known)
    assert problems == ()
    return found, [each.health for each in found]


def test_an_instance_stays_what_it_was_known_as() -> None:
    known, before = healths(entry("a", FINE, FINE), entry("b", FINE, REFUSED))
    assert before == [Health.PASSING, Health.CRITICAL]
    known, after = healths(entry("a", FINE, TO_COME), entry("b", FINE, TO_COME), known=known)
    assert after == before
    _, made = healths(entry("a", FINE, REFUSED), entry("b", FINE, FINE), known=known)
    assert made == [Health.CRITICAL, Health.PASSING]


def test_another_check_that_fails_counts_at_once() -> None:
    known, _ = healths(entry("a", FINE, FINE))
    assert healths(entry("a", REFUSED, TO_COME), known=known)[1] == [Health.CRITICAL]
    warning = HealthCheck("warning", type="http", output="HTTP GET: 429")
    assert healths(entry("a", warning, TO_COME), known=known)[1] == [Health.WARNING]


def test_one_that_never_was_known_waits_unless_nobody_else_could_answer() -> None:
    assert healths(entry("a", FINE), entry("b", FINE, TO_COME))[1] == [
        Health.PASSING,
        Health.CRITICAL,
    ]
    assert healths(entry("a", REFUSED), entry("b", FINE, TO_COME))[1] == [
        Health.CRITICAL,
        Health.PASSING,
    ]
    assert healths(entry("a", TO_COME), entry("b", TO_COME))[1] == [Health.PASSING] * 2
    # A subset may consist of it.
    assert healths(entry("a", FINE), entry("b", TO_COME, version="v2"))[1] == [Health.PASSING] * 2


@pytest.mark.parametrize(
    ("check", "health"),
    [
        (HealthCheck("critical", type="alias"), Health.PASSING),
        (HealthCheck("critical", type="alias", output='Check "x" failing: '), Health.PASSING),
        (HealthCheck("critical", type="alias", output='Check "x" failing: no'), Health.CRITICAL),
        (HealthCheck("critical", type="grpc"), Health.PASSING),
        # These may fail without a word.
        (HealthCheck("critical", type="ttl"), Health.CRITICAL),
        (HealthCheck("critical", type="script"), Health.CRITICAL),
        (HealthCheck("critical"), Health.CRITICAL),
    ],
)
def test_checks_that_say_why_they_fail_are_told_from_others(
    check: HealthCheck, health: Health
) -> None:
    known, _ = healths(entry("a", FINE))
    assert healths(entry("a", check), known=known)[1] == [health]
