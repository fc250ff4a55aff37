"""What ``mesh check`` says of ways out."""

from __future__ import annotations

from mesh.cli.checks.consul_egress import judge
from mesh.cli.checks.model import Level
from mesh.model.entries import (
    Entries,
    GatewayMode,
    LinkedService,
    ProxyDefaults,
    ServiceDefaults,
    UpstreamDefaults,
)
from mesh.world.snapshot import World

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
