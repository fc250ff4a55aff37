"""Instances registered through the zone, and what becomes of them when they fall silent."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from mesh.clients.consul import ConsulClient
from mesh.controlplane.bindings import Bindings, Record, token_key
from mesh.controlplane.reaper import (
    GRACE,
    SETTLE,
    Deregister,
    LeasedNode,
    MarkCritical,
    Reaper,
    plan,
    spent,
)
from mesh.controlplane.registrations import (
    PREFIX,
    ForeignInstanceError,
    Registration,
    Registrations,
    entries,
)
from mesh.model.identity import WorkloadId
from mesh.model.services import Health
from tests.controlplane.zones import ApiServer, Host

NOW = datetime(2025, 1, 1, tzinfo=UTC)
WEB = WorkloadId("mesh.test", "dc1", "web")
ONE = Registration("web-1", "web", "10.0.0.7", 20000, 8080, ("v1",), {"team": "a"})


@pytest.mark.parametrize(
    ("service", "kind"), [("mesh-gateway", "mesh-gateway"), ("mesh-egress", "terminating-gateway")]
)
def test_a_gateway_is_one_for_consul_and_speaks_the_meshs_tls(service: str, kind: str) -> None:
    (entry,) = entries(Registration("one", service, "10.0.0.7", 10_002, 10_002), "dc1")
    found = entry["Service"]
    assert (found["Kind"], found["Connect"], found["Port"]) == (kind, {"Native": True}, 10_002)


@pytest.fixture
async def registrations(consul: ConsulClient) -> AsyncIterator[Registrations]:
    yield Registrations(consul, "dc1")
    for node in ("mesh-web-1", "mesh-web-2"):
        await consul.catalog_deregister(node)


async def status(consul: ConsulClient) -> list[str]:
    (entry,) = (await consul.health_connect("web")).value
    return sorted({check.status for check in entry.checks or ()})


async def session(consul: ConsulClient) -> str:
    entry = (await consul.kv_get(PREFIX + "web-1")).value
    assert entry is not None
    return entry.session


def settled(consul: ConsulClient, zone: str = "dc1") -> Reaper:
    """Return a reaper that has looked for long enough."""
    return Reaper(consul, zone, settle=timedelta())


async def test_an_instance_and_its_sidecar_stand_on_a_node_of_their_own(
    consul: ConsulClient, registrations: Registrations
) -> None:
    assert await registrations.put(WEB, ONE) == 30
    (sidecar,) = (await consul.health_connect("web")).value
    assert (sidecar.node.node, sidecar.node.address) == ("mesh-web-1", "10.0.0.7")
    assert sidecar.node.meta == {
        "mesh-registrar": "dc1",
        "mesh-lease": "web-1",
        "mesh-service": "web",
    }
    assert (sidecar.service.service, sidecar.service.port) == ("web-sidecar-proxy", 20000)
    assert sidecar.service.proxy is not None
    assert sidecar.service.proxy.destination_service_id == "web-1"
    (application,) = (await consul.health_service("web")).value
    assert (application.service.port, application.service.tags) == (8080, ("v1",))
    assert application.service.meta == {"team": "a"}
    assert await status(consul) == ["passing"]


async def test_a_heartbeat_that_says_nothing_new_writes_nothing(
    consul: ConsulClient, registrations: Registrations
) -> None:
    await registrations.put(WEB, ONE)
    before = (await consul.kv_get(PREFIX + "web-1")).value
    catalog = (await consul.health_connect("web")).index
    for instance in (registrations, Registrations(consul, "dc1")):
        await instance.put(WEB, ONE)
    assert (await consul.kv_get(PREFIX + "web-1")).value == before
    assert (await consul.health_connect("web")).index == catalog


async def test_news_of_health_reach_the_catalog_under_the_same_lease(
    consul: ConsulClient, registrations: Registrations
) -> None:
    await registrations.put(WEB, ONE)
    lease = await session(consul)
    await registrations.put(WEB, replace(ONE, health=Health.CRITICAL, output="refused"))
    assert await status(consul) == ["critical", "passing"]
    assert await session(consul) == lease
    await registrations.put(WEB, ONE)
    assert await status(consul) == ["passing"]


async def test_a_service_registers_and_removes_only_its_own(
    consul: ConsulClient, registrations: Registrations
) -> None:
    await registrations.put(WEB, ONE)
    api = WorkloadId("mesh.test", "dc1", "api")
    with pytest.raises(ForeignInstanceError, match="may register instances of 'api'"):
        await registrations.put(api, replace(ONE, id="web-2"))
    with pytest.raises(ForeignInstanceError, match="belongs to 'web'"):
        await registrations.put(api, replace(ONE, service="api"))
    with pytest.raises(ForeignInstanceError, match="belongs to 'web'"):
        await registrations.delete(api, "web-1")
    elsewhere = WorkloadId("mesh.test", "dc2", "web")
    with pytest.raises(ForeignInstanceError):
        await registrations.put(elsewhere, ONE)
    assert await status(consul) == ["passing"]


async def test_deregistering_leaves_nothing(
    consul: ConsulClient, registrations: Registrations
) -> None:
    await registrations.put(WEB, ONE)
    await registrations.delete(WEB, "web-1")
    assert (await consul.catalog_node("mesh-web-1")).value is None
    assert (await consul.kv_get(PREFIX + "web-1")).value is None
    await registrations.delete(WEB, "web-1")


async def test_a_lost_lease_turns_critical_then_goes_and_a_heartbeat_restores_it(
    consul: ConsulClient, registrations: Registrations
) -> None:
    reaper = settled(consul)
    await registrations.put(WEB, ONE)
    assert await reaper.reap(NOW) == []
    # What the end of a session by its TTL does, without the waiting.
    await consul.session_destroy(await session(consul))
    (step,) = await reaper.reap(NOW)
    assert isinstance(step, MarkCritical)
    assert "critical" in await status(consul)
    assert await settled(consul).reap(NOW + GRACE - timedelta(seconds=1)) == []

    await registrations.put(WEB, ONE)
    assert await status(consul) == ["passing"]
    assert await reaper.reap(NOW + GRACE) == []

    await consul.session_destroy(await session(consul))
    await reaper.reap(NOW)
    (step,) = await settled(consul).reap(NOW + GRACE)
    assert isinstance(step, Deregister)
    assert (await consul.catalog_node("mesh-web-1")).value is None
    await registrations.put(WEB, ONE)
    assert await status(consul) == ["passing"]


async def test_leases_that_ran_out_while_nobody_looked_get_time_to_come_back(
    consul: ConsulClient, registrations: Registrations
) -> None:
    """A zone that was away, or cut off from Consul, could hear no heartbeat: its fault alone."""
    reaper, second = Reaper(consul, "dc1"), timedelta(seconds=1)
    await registrations.put(WEB, ONE)
    await consul.session_destroy(await session(consul))
    assert await reaper.reap(NOW) == []
    assert await status(consul) == ["passing"]
    away = NOW + timedelta(minutes=5)
    assert await reaper.reap(away) == []
    for seconds in (10, 20, 29):
        assert await reaper.reap(away + seconds * second) == []
    assert await status(consul) == ["passing"]
    (step,) = await reaper.reap(away + SETTLE)
    assert isinstance(step, MarkCritical)


async def test_a_reaper_leaves_other_zones_and_other_nodes_alone(
    consul: ConsulClient, registrations: Registrations
) -> None:
    await registrations.put(WEB, ONE)
    await consul.session_destroy(await session(consul))
    assert await settled(consul, "dc2").reap(NOW) == []
    assert await status(consul) == ["passing"]


async def test_a_lease_that_returns_while_the_reaper_acts_is_written_anew(
    consul: ConsulClient, registrations: Registrations
) -> None:
    await registrations.put(WEB, ONE)
    reaper = Reaper(consul, "dc1")
    # The reaper planned before the lease was taken, and acts after it.
    stale = LeasedNode("mesh-web-1", "10.0.0.7", "web-1")
    await reaper._apply(MarkCritical(stale), NOW)  # noqa: SLF001 - the moment between plan and act
    await registrations.put(WEB, ONE)
    assert await status(consul) == ["passing"]


def test_the_plan_never_touches_a_node_with_a_lease() -> None:
    nodes = [
        LeasedNode("held", "", "a"),
        LeasedNode("held-again", "", "b", lost_at=NOW - GRACE * 2),
        LeasedNode("lost", "", "c"),
        LeasedNode("waiting", "", "d", lost_at=NOW - GRACE / 2),
        LeasedNode("over", "", "e", lost_at=NOW - GRACE),
    ]
    steps = plan(nodes, ["a", "b"], NOW)
    assert steps == [MarkCritical(nodes[2]), Deregister(nodes[4])]


async def test_records_of_tokens_are_forgotten_when_they_decide_nothing(
    consul: ConsulClient,
) -> None:
    keep = timedelta(days=90)
    bindings = Bindings(consul)
    old, young = NOW - timedelta(days=91), NOW - timedelta(days=89)
    for name, record in {
        "spent": Record(spki="k", service="web", bound_at=old, last_issued_at=old),
        "renewed": Record(spki="k", service="web", bound_at=old, last_issued_at=young),
        "revoked": Record(revoked_at=young),
        "valid": Record(spki="k", service="web", bound_at=old, expires_at=NOW + keep),
    }.items():
        await bindings.write(token_key(name), record, 0)
    assert len(spent(await bindings.all(), NOW, keep)) == 1
    assert await Reaper(consul, "dc1").forget_spent_tokens(NOW) == 1
    left = {each.key.rpartition("/")[2] for each in await bindings.all()}
    assert left == {"renewed", "revoked", "valid"}


async def test_over_the_api_a_workload_keeps_its_lease_and_leaves(
    api: ApiServer, consul: ConsulClient, registrations: Registrations
) -> None:
    host = Host("web")
    await api.enrol(host, await api.mint(service="web"))
    body = {
        "id": "web-1",
        "service": "web",
        "address": "10.0.0.7",
        "port": 20000,
        "app_port": 8080,
        "tags": [],
        "meta": {},
        "health": "passing",
        "output": "",
    }
    path = "/v1/registrations/web-1"
    reply = await api.call("PUT", path, json=body, credentials=host.credentials)
    assert (reply.status, reply.body) == (200, {"lease_seconds": 30.0})
    bad = {**body, "id": "-", "address": "::", "port": 0, "helth": "passing", "health": "ok"}
    reply = await api.call("PUT", path, json=bad, credentials=host.credentials)
    assert reply.status == 422
    assert {each["path"] for each in reply.body["violations"]} == {
        "id",
        "address",
        "port",
        "helth",
        "health",
    }
    reply = await api.call(
        "PUT", path, json={**body, "service": "api"}, credentials=host.credentials
    )
    assert reply.status == 403
    assert (await api.call("PUT", path, json=body)).status == 401
    assert (await api.call("DELETE", path, credentials=host.credentials)).status == 200
    assert (await consul.catalog_node("mesh-web-1")).value is None
