"""Callers' proxies ask the instances themselves; Consul calls all of them passing."""

from __future__ import annotations

from typing import Any

import pytest

from mesh.demo.estate import HOST, free_ports
from tests.traffic.bed import Bed
from tests.traffic.documents import WEB, policy
from tests.traffic.questions import ports_of
from tests.traffic.services import OUTSIDE
from tests.traffic.waiting import until

pytestmark = [pytest.mark.e2e, pytest.mark.asyncio(loop_scope="session")]

PACE = "interval: 100ms, timeout: 2s, unhealthyThreshold: 2, healthyThreshold: 1"
PROBE = "type: Http, path: /healthz"
EVENLY = policy("MeshLoadBalancingStrategy", "loadBalancer: {type: RoundRobin}", name="evenly")


def check(probe: str = PROBE, *, pace: str = PACE) -> dict[str, Any]:
    return policy("MeshHealthCheck", f"{pace}, probe: {{{probe}}}".join("{}"))


async def serving(bed: Bed, *expected: str) -> None:
    """Wait until ``api`` is served by exactly these instances."""

    async def ask() -> bool | None:
        return (await bed.tally(12)).keys() == set(expected) or None

    await until(f"api is served by {', '.join(expected)}", ask)


async def test_an_instance_that_fails_its_check_gets_no_calls_until_it_is_well(bed: Bed) -> None:
    await bed.apply(EVENLY, check())
    bed.apps["api-2"].behaviour.paths["/healthz"] = 500
    await serving(bed, "api-1", "api-3")
    listed = ports_of(await bed.resource("web", "ClusterLoadAssignment", "api"))
    assert bed.estate.services["api-2"].inbound_port in listed
    before = bed.apps["api-2"].seen["/"]
    await bed.tally(30)
    assert bed.apps["api-2"].seen["/"] == before
    del bed.apps["api-2"].behaviour.paths["/healthz"]
    await serving(bed, "api-1", "api-2", "api-3")


async def test_a_check_may_expect_other_statuses(bed: Bed) -> None:
    await bed.apply(EVENLY, check(f"{PROBE}, expectedStatuses: [200, 418]"))
    bed.apps["api-1"].behaviour.paths["/healthz"] = 418
    bed.apps["api-3"].behaviour.paths["/healthz"] = 204
    await serving(bed, "api-1", "api-2")


async def test_a_check_asks_with_host_and_headers(bed: Bed) -> None:
    edits = "requestHeadersToAdd: {add: [{name: x-probe, value: mesh}]}"
    await bed.apply(check(f"{PROBE}, host: probe.example, {edits}"))

    async def ask() -> dict[str, str] | None:
        probes = [each for each in bed.apps["api-1"].requests if each["path"] == "/healthz"]
        return dict(probes[0]["headers"]) if probes else None

    headers = await until("api-1 is asked", ask)
    assert (headers["host"], headers["x-probe"]) == ("probe.example", "mesh")


async def test_every_caller_checks_for_itself(bed: Bed) -> None:
    document = check()
    document["spec"]["targetRef"] = WEB
    await bed.apply(EVENLY, document)
    bed.apps["api-2"].behaviour.paths["/healthz"] = 500
    await serving(bed, "api-1", "api-3")
    assert (await bed.tally(12, caller="admin")).keys() == {"api-1", "api-2", "api-3"}


async def test_a_tcp_check_avoids_what_cannot_be_connected_to(bed: Bed) -> None:
    ports = (free_ports(1)[0], bed.apps["store-1"].port)
    spec = {"endpoints": [{"address": HOST, "port": port} for port in ports]}
    await bed.apply(
        {"type": "MeshExternalService", "name": OUTSIDE, "spec": spec},
        policy("MeshCircuitBreaker", "outlierDetection: {disabled: true}", service=OUTSIDE),
    )
    assert {await bed.dial(OUTSIDE) for _ in range(20)} == {"store-1", ""}
    await bed.apply(policy("MeshHealthCheck", f"{{{PACE}, probe: {{type: Tcp}}}}", service=OUTSIDE))

    async def ask() -> bool | None:
        return {await bed.dial(OUTSIDE) for _ in range(20)} == {"store-1"} or None

    await until("only store-1 is asked", ask)
