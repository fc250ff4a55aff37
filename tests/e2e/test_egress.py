"""Calls to external services leave by egress gateways, or not at all."""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from mesh.agent.state import StateDir
from mesh.agent.supervisor import LAST_GOOD
from mesh.demo.estate import HOST, free_ports
from mesh.model.intentions import Action
from mesh.model.names import ZONE_EGRESS
from tests.agent.envoys import end_all
from tests.e2e.egress import SEALED, UPSTREAMS, Bed, egress_bed, legacy
from tests.traffic.gateways import killed_under_load
from tests.traffic.waiting import until
from tests.xds.pki import Authority

# All of them: each goes on where the one before ended, and one is a matter of time.
pytestmark = [
    pytest.mark.e2e,
    pytest.mark.alone,
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.timeout(120),
]


@pytest_asyncio.fixture(scope="module", loop_scope="module", name="bed")
async def _bed(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Bed]:
    async with egress_bed(tmp_path_factory.mktemp("egress")) as bed:
        yield bed


async def test_refused_until_allowed_and_closed_while_there_is_no_gateway(bed: Bed) -> None:
    assert "web may not call payments" in await bed.answered("payments", 403)
    for service in UPSTREAMS:
        await bed.intention(Action.ALLOW, "web", service)
    # Allowed, and still nobody dials the outside by himself.
    assert "no healthy upstream" in await bed.answered("payments", 503)
    assert bed.payments.total == 0
    explained = json.loads(await bed.estate.mesh(["explain", "web", "payments", "-o", "json"]))
    (target,) = explained["way"]["targets"]
    assert target["egress"]["warning"].startswith("no egress gateway")
    found = json.loads((await bed.estate.mesh_result(["check", "-o", "json"]))[1])
    said = [each for section in found["sections"] for each in section["checks"]]
    (warning,) = [each for each in said if each["check"] == "ways out by egress gateways"]
    assert warning["level"] == "warning"
    assert "no egress gateway answers" in warning["text"]
    assert "ledger, legacy, payments, sealed" in warning["text"]


async def test_an_external_service_is_called_through_the_gateway(bed: Bed) -> None:
    await bed.gateway("egress-1")
    await bed.gateway("egress-2")
    answer = json.loads(await bed.answered("payments", 200))
    assert answer["instance"] == "pay"
    assert "x-forwarded-client-cert" not in answer["headers"]
    kinds = {one.service.kind for one in (await bed.consul.health_connect(ZONE_EGRESS)).value}
    assert kinds == {"terminating-gateway"}


async def test_services_of_the_catalog_are_called_through_the_gateway(bed: Bed) -> None:
    assert json.loads(await bed.answered("legacy", 200))["instance"] == "old"

    async def greeted() -> bool | None:
        return (await bed.say("ledger")) == "ledger" or None

    await until("the ledger greets", greeted)


async def test_explain_shows_the_way(bed: Bed) -> None:
    text = await bed.estate.mesh(["explain", "web", "payments"])
    zone = await bed.consul.agent_self()
    assert f"payments.default.{zone['Config']['Datacenter']}.internal." in text
    assert "egress gateway egress-1" in text
    assert "judged by the egress gateway" in text


async def test_a_revoked_intention_bites(bed: Bed) -> None:
    port = bed.estate.services["web"].upstreams["ledger"]
    reader, writer = await asyncio.open_connection(HOST, port)
    assert await reader.readline() == b"ledger\n"
    await bed.intention(Action.DENY, "web", "ledger")
    await bed.intention(Action.DENY, "web", "payments")
    assert await asyncio.wait_for(reader.read(), 10) == b""
    writer.close()
    await bed.answered("payments", 403)
    assert await bed.say("ledger") == ""
    # Nobody else is concerned.
    assert (await bed.get("legacy"))[0] == 200
    await bed.intention(Action.ALLOW, "web", "ledger")
    await bed.intention(Action.ALLOW, "web", "payments")
    await bed.answered("payments", 200)


async def test_whoever_goes_round_his_proxy_is_refused_by_the_gateway(bed: Bed) -> None:
    await bed.estate.start_proxy(
        "stranger", app_port=free_ports(1)[0], settings={"health": {"kind": "none"}}
    )
    await bed.estate.ready("stranger")
    state = bed.estate.services["stranger"].state
    context = ssl.create_default_context(cafile=str(bed.estate.bundle_file))
    context.load_cert_chain(state / "svid.pem", state / "svid.key")
    context.check_hostname = False
    name = "ledger.default.dc1.internal.demo.mesh"
    gateway = bed.gateways["egress-1"]

    async def greeting() -> bytes:
        reader, writer = await asyncio.open_connection(
            HOST, gateway.port, ssl=context, server_hostname=name
        )
        try:
            return await asyncio.wait_for(reader.readline(), 5)
        finally:
            writer.close()

    with pytest.raises((ssl.SSLError, ConnectionError)):
        await greeting()
    await bed.logged("refused: mesh: egress:", "/svc/stranger", name, "no intention allows it")


async def test_a_new_service_disturbs_no_connection(bed: Bed) -> None:
    port = bed.estate.services["web"].upstreams["ledger"]
    reader, writer = await asyncio.open_connection(HOST, port)
    assert await reader.readline() == b"ledger\n"
    await bed.link(legacy(), SEALED, {"Name": "ledger"}, {"Name": "another"})

    async def taken() -> bool | None:
        found = await bed.estate.mesh(["config", "--proxy", "mesh-egress/egress-1", "-o", "json"])
        return "another.default.dc1" in found or None

    await until("the gateway has another chain", taken)
    # Envoy ends the connections of a chain that was replaced after four seconds.
    for count in range(6):
        writer.write(b"%d\n" % count)
        assert await asyncio.wait_for(reader.readline(), 2) == b"%d\n" % count
        await asyncio.sleep(1)
    writer.close()


async def test_a_missing_file_is_named_and_the_rest_goes_on(bed: Bed) -> None:
    await bed.link(
        legacy(), SEALED, {"Name": "ledger"}, {"Name": "another", "CAFile": "missing.pem"}
    )

    async def named() -> bool | None:
        _, output, _ = await bed.estate.mesh_result(["check", "-o", "json"])
        return "outside/missing.pem" in output or None

    await until("the missing file is named", named)
    assert (await bed.get("legacy"))[0] == 200
    assert (await bed.get("payments"))[0] == 200
    await bed.link(legacy(), SEALED, {"Name": "ledger"})


async def test_a_file_that_is_renewed_is_read_again(bed: Bed, tmp_path: Path) -> None:
    async def said(words: str) -> bool | None:
        return (await bed.say("sealed")) == words or None

    await until("sealed is believed", lambda: said("sealed"))
    good = bed.authority.bundle.read_bytes()
    for content, words in ((Authority(tmp_path).bundle.read_bytes(), ""), (good, "sealed")):
        (bed.files / "new.pem").write_bytes(content)
        (bed.files / "new.pem").rename(bed.files / "sealed.pem")
        await until(f"sealed says {words!r}", lambda words=words: said(words))  # type: ignore[misc]


async def test_a_gateway_is_killed_under_load(bed: Bed) -> None:
    await bed.answered("payments", 200)
    later = await killed_under_load(bed.url("payments"), bed.gateways.pop("egress-1"))
    assert later.failed == 0, str(later)


async def test_a_gateway_starts_without_the_zone(bed: Bed) -> None:
    gateway = bed.gateways["egress-2"]
    file = gateway.state / LAST_GOOD

    async def recorded() -> bool | None:
        # The key's file is named, which Envoy itself would not tell.
        return (file.exists() and "outside/client.key" in file.read_text()) or None

    await until("the last known good configuration is recorded", recorded, patience=30)
    assert bed.estate.zone is not None
    await bed.estate.zone.kill()
    end_all(StateDir(gateway.state))
    for service in ("payments", "legacy"):
        await bed.answered(service, 200)
