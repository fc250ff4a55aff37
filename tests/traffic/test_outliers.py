"""An instance that fails on real calls is left out for a while, and comes back."""

from __future__ import annotations

import time
from typing import Any

import pytest

from mesh.demo.estate import HOST, free_ports
from tests.traffic.applications import Application
from tests.traffic.bed import Bed
from tests.traffic.documents import policy
from tests.traffic.services import OUTSIDE
from tests.traffic.waiting import until

pytestmark = [pytest.mark.e2e, pytest.mark.alone, pytest.mark.asyncio(loop_scope="session")]

MANY = 1_000_000
BASE = 2.0
"""Seconds that an instance is left out at first."""


def evenly(service: str = "api") -> dict[str, Any]:
    conf = "loadBalancer: {type: RoundRobin}"
    return policy("MeshLoadBalancingStrategy", conf, service=service, name="evenly")


def outliers(
    detectors: str, *, more: str = "", service: str = "api", base: str = "60s"
) -> dict[str, Any]:
    """Return a policy with exactly these detectors."""
    if not detectors.startswith("gatewayFailures"):
        detectors += ", gatewayFailures: {disabled: true}"
    conf = f"interval: 200ms, baseEjectionTime: {base}{more}"
    detection = f"outlierDetection: {{{conf}, detectors: {{{detectors}}}}}"
    return policy("MeshCircuitBreaker", detection, service=service)


def left_out_after(failures: int, calls: int) -> bool:
    """Whether so many calls fit: one or two may come before Envoy's main thread has acted."""
    return failures <= calls <= failures + 2


def fails(app: Application, status: int) -> None:
    app.behaviour.status, app.behaviour.failures = status, MANY


async def asked(bed: Bed, name: str, calls: int = 30) -> int:
    """Call ``api`` so often, one after the other; return how many calls came to ``name``."""
    before = bed.apps[name].total
    for _ in range(calls):
        await bed.call()
    return bed.apps[name].total - before


async def returned(bed: Bed, name: str) -> None:
    async def ask() -> bool | None:
        return (await bed.call()).instance == name or None

    await until(f"{name} is asked again", ask)


async def test_consecutive_5xx_leave_an_instance_out_until_its_time_is_over(bed: Bed) -> None:
    await bed.apply(evenly(), outliers("totalFailures: {consecutive: 3}", base=f"{BASE:g}s"))
    bad = bed.apps["api-2"]
    fails(bad, 500)
    assert left_out_after(3, await asked(bed, "api-2", 15))
    left_out = time.monotonic()
    found = await bed.tally(12)
    assert found.keys() == {"api-1", "api-3"}
    bad.reset()
    await returned(bed, "api-2")
    assert time.monotonic() - left_out > BASE / 2
    assert 9 <= await asked(bed, "api-2") <= 11


async def test_consecutive_gateway_failures_leave_an_instance_out(bed: Bed) -> None:
    await bed.apply(evenly(), outliers("gatewayFailures: {consecutive: 4}"))
    fails(bed.apps["api-1"], 500)
    fails(bed.apps["api-2"], 503)
    assert left_out_after(4, await asked(bed, "api-2"))
    assert 9 <= await asked(bed, "api-1", 20) <= 11


async def test_calls_without_an_answer_leave_an_instance_out(bed: Bed) -> None:
    await bed.apply(evenly(), outliers("gatewayFailures: {consecutive: 3}"))
    bad = bed.apps["api-2"]
    bad.behaviour.drops, bad.behaviour.failures = True, MANY
    assert left_out_after(3, await asked(bed, "api-2"))


async def test_connections_that_fail_leave_an_instance_out(bed: Bed) -> None:
    ports = (free_ports(1)[0], bed.apps["spare-1"].port)
    endpoints = [{"address": HOST, "port": port} for port in ports]
    spec = {"match": {"protocol": "http"}, "endpoints": endpoints}
    await bed.apply(
        {"type": "MeshExternalService", "name": OUTSIDE, "spec": spec},
        policy("MeshRetry", "http: {numRetries: 0}", service=OUTSIDE),
        evenly(OUTSIDE),
        outliers("localOriginFailures: {consecutive: 2}", service=OUTSIDE),
    )
    found = [(await bed.call(service=OUTSIDE)).status for _ in range(20)]
    assert left_out_after(2, found.count(503))


async def test_a_share_of_failures_leaves_an_instance_out(bed: Bed) -> None:
    percentage = "failurePercentage: {threshold: 50, minimumHosts: 3, requestVolume: 3}"
    await bed.apply(evenly(), outliers(percentage, more=", maxEjectionPercent: 40"))
    fails(bed.apps["api-3"], 500)

    async def ask() -> bool | None:
        return await asked(bed, "api-3", 20) == 0 or None

    await until("api-3 is left out", ask)
    assert await asked(bed, "api-1", 10) > 0


async def test_an_instance_that_succeeds_far_less_than_others_is_left_out(bed: Bed) -> None:
    rate = "successRate: {minimumHosts: 3, requestVolume: 3, standardDeviationFactor: 1.1}"
    await bed.apply(evenly(), outliers(rate))
    fails(bed.apps["api-3"], 500)

    async def ask() -> bool | None:
        return await asked(bed, "api-3", 20) == 0 or None

    await until("api-3 is left out", ask)


async def test_only_so_many_instances_are_left_out(bed: Bed) -> None:
    most = ", maxEjectionPercent: 34"
    await bed.apply(evenly(), outliers("totalFailures: {consecutive: 2}", more=most))
    for name in ("api-1", "api-2"):
        fails(bed.apps[name], 500)
    await asked(bed, "api-1")
    total = {name: app.total for name, app in bed.apps.items()}
    await bed.tally(20)
    still = {name for name, app in bed.apps.items() if app.total > total[name]}
    assert "api-3" in still
    assert len(still) == 2


async def test_ejection_switched_off(bed: Bed) -> None:
    await bed.apply(evenly(), policy("MeshCircuitBreaker", "outlierDetection: {disabled: true}"))
    fails(bed.apps["api-2"], 503)
    assert 14 <= await asked(bed, "api-2", 45) <= 16
