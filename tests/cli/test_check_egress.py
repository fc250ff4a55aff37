"""What ``mesh check`` says of ways out."""

from __future__ import annotations

from typing import Any

from mesh.cli.checks.consul_egress import ConsulEgress, judge
from mesh.cli.checks.model import Level
from mesh.cli.checks.surroundings import Surroundings
from mesh.clients.consul import ConsulAddress, ConsulClient
from mesh.model.entries import (
    Entries,
    GatewayMode,
    LinkedService,
    ProxyDefaults,
    ServiceDefaults,
    UpstreamDefaults,
)
from mesh.world.snapshot import World
from tests.cli.conftest import put

LOCAL = GatewayMode.LOCAL


def said(entries: Entries, gateways: int, *catalog: str) -> list[tuple[Level, str]]:
    found = judge(World("dc1", "td", entries=entries), gateways, catalog)
    return [(one.level, one.text) for one in found]


def test_nothing_leaves() -> None:
    assert said(Entries(), 0) == [(Level.OK, "nothing needs egress gateways")]


def test_everything_that_needs_a_gateway_is_named() -> None:
    web = ServiceDefaults("web", upstreams={"api": UpstreamDefaults(gateway=LOCAL)})
    entries = Entries(
        {"web": web},
        ProxyDefaults(gateway=LOCAL),
        linked={"legacy": LinkedService("legacy")},
    )
    ((level, text),) = said(entries, 0, "legacy")
    assert level is Level.WARNING
    assert "legacy, other zones, other zones (service-defaults web)" in text
    ((level, text),) = said(entries, 2, "legacy")
    assert (level, text.partition(",")[0]) == (Level.OK, "2 egress gateways answer")


def test_what_is_not_there_or_has_sidecars_is_told() -> None:
    linked = {name: LinkedService(name) for name in ("gone", "meshed")}
    texts = [text for _, text in said(Entries(linked=linked), 1, "meshed", "meshed-sidecar-proxy")]
    assert texts == [
        "terminating-gateway mesh-egress names gone, which is not registered",
        "calls to meshed leave by egress, though it has sidecars in this zone",
    ]


def keep(registry: str, key: str, spec: dict[str, Any]) -> None:
    """Keep a MeshExternalService below ``key``, as a zone's leader copies it from the primary."""
    name = key.rpartition("/")[2]
    document = {"type": "MeshExternalService", "mesh": "default", "name": name, "spec": spec}
    envelope = {"version": 1, "document": document, "applied_at": "2026-01-01T00:00:00Z"}
    put(registry, f"/v1/kv/{key}", envelope)


async def looked(registry: str) -> list[tuple[Level, str]]:
    async with ConsulClient(ConsulAddress(url=registry)) as client:
        found = await ConsulEgress(Surroundings(client)).run()
    return [(one.level, one.text) for one in found]


MIRROR = "mesh/mirror/policies/default/MeshExternalService"
PAY = {"endpoints": [{"address": "pay.example", "port": 443}], "egress": True}


async def test_what_the_primary_says_counts_in_every_zone(registry: str) -> None:
    keep(registry, f"{MIRROR}/pay", PAY)
    ((level, text),) = await looked(registry)
    assert level is Level.WARNING
    assert text == "no egress gateway answers, and calls that need one fail: pay"
    # One of the zone's own of that name stands over it.
    keep(registry, "mesh/policies/default/MeshExternalService/pay", {**PAY, "egress": False})
    assert await looked(registry) == [(Level.OK, "nothing needs egress gateways")]


async def test_a_policy_that_cannot_be_read_is_named(registry: str) -> None:
    keep(registry, f"{MIRROR}/pay", {**PAY, "endpoints": []})
    (_, (level, text)) = await looked(registry)
    assert level is Level.WARNING
    assert text.startswith("policy MeshExternalService pay is malformed, it is left out: ")
