"""The guide to a first edge gateway, followed on a real Consul, a real OpenBao and real Envoys."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
import yaml

from mesh.model.intentions import Action
from tests.docs.blocks import GUIDES, blocks
from tests.edge.bed import Bed, made
from tests.traffic.waiting import until

pytestmark = [pytest.mark.e2e, pytest.mark.asyncio(loop_scope="module")]

TEXTS = {block.name: block.text for block in blocks(GUIDES / "edge.md", "yaml")}
PORTS = {8080: "http", 8443: "https"}
SHOP = "shop.example.com"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def bed(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Bed]:
    async with made(tmp_path_factory.mktemp("guide")) as found:
        yield found


async def _apply(bed: Bed, name: str) -> None:
    """Apply a file of the guide as it stands, but for the ports, which are whatever is free."""
    text = TEXTS[name]
    for port, purpose in PORTS.items():
        text = text.replace(f"port: {port}", f"port: {bed.ports[purpose]}")
        text = text.replace(f"redirectToPort: {port}", f"redirectToPort: {bed.ports[purpose]}")
    file = bed.estate.directory / name
    file.write_text(text)
    assert yaml.safe_load(text)
    await bed.estate.mesh(["apply", "-f", str(file)])


async def test_the_guide_leads_to_a_gateway(bed: Bed) -> None:
    await bed.intention(Action.DENY, "web")
    bed.vault.put("shop/tls", SHOP)
    await _apply(bed, "edge.yaml")
    clients = bed.vault.clients
    secure: dict[str, Any] = {"host": SHOP, "port": "https", "tls": clients}
    refused = await bed.answered(403, **secure)
    assert "To allow it: mesh intention allow edge web" in refused.text
    await bed.estate.mesh(["intention", "allow", "edge", "web"])
    assert (await bed.answered(200, **secure)).instance == "web-1"
    # The role's certificate, for a path of the other host.
    api: dict[str, Any] = {"host": "api.example.com", "port": "https", "tls": clients}
    assert (await bed.answered(200, "/v1/x", **api)).instance == "web-1"
    assert (await bed.call("/v2", **api)).status == 404
    moved = await bed.answered(301, "/a", host=SHOP)
    assert moved.headers["location"] == f"https://{SHOP}:{bed.ports['https']}/a"
    assert await bed.readiness() == "ready\n"


async def test_routes_are_attached_to_the_gateway(bed: Bed) -> None:
    secure: dict[str, Any] = {"host": SHOP, "port": "https", "tls": bed.vault.clients}
    await bed.answered(200, "/internal", **secure)
    await _apply(bed, "edge-routes.yaml")
    hidden = await bed.answered(404, "/internal", **secure)
    assert hidden.text == "not here\n"
    assert (await bed.call("/", **secure)).status == 200
    said = await bed.estate.mesh(["explain", "edge", "web", "--path", "/internal"])
    assert "MeshHTTPRoute edge-web" in said


async def test_mesh_check_names_what_is_not_served(bed: Bed) -> None:
    await bed.entry(
        {"Port": bed.ports["spare"], "Protocol": "http", "Services": [{"Name": "web"}]},
        TLS={"Enabled": True},
    )

    async def told() -> bool | None:
        _, output, _ = await bed.estate.mesh_result(["check", "-o", "json"])
        return "say in a MeshGateway where in Vault it is" in output or None

    await until("mesh check tells of the closed listener", told)
