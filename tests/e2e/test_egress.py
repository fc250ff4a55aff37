"""External services behind egress gateways: real Consul 1.8.7, real Envoys, real files.

``payments`` is a MeshExternalService (HTTP inside, TLS outside), ``legacy`` and ``ledger`` are
services of the catalog on external nodes, named by a ``terminating-gateway`` entry: the one is
dialled by TLS with a certificate shown, the other (TCP) in plain text.  ``sealed`` is TCP by TLS.
"""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import aiohttp
import pytest
import pytest_asyncio

from mesh.agent.state import StateDir
from mesh.agent.supervisor import LAST_GOOD
from mesh.clients.consul import ConsulClient
from mesh.clients.consul.policies import Policies
from mesh.clients.consul.policy_records import puts
from mesh.demo.estate import HOST, Estate, free_ports
from mesh.model.intentions import Action, Intention
from mesh.model.names import ZONE_EGRESS
from mesh.model.proxies import Role
from mesh.policies.document import parse
from mesh.policies.registry import KINDS
from tests.agent.envoys import end_all
from tests.realconsul import RealConsul
from tests.traffic.applications import Application, http, line
from tests.traffic.gateways import Gateway, killed_under_load, start_gateway
from tests.traffic.waiting import until
from tests.xds.pki import Authority

# All of them: each goes on where the one before ended, and one is a matter of time.
pytestmark = [
    pytest.mark.e2e,
    pytest.mark.alone,
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.timeout(120),
]

UPSTREAMS: Final = ("payments", "legacy", "ledger", "sealed")


@dataclass(slots=True)
class Bed:
    """The running estate."""

    estate: Estate
    stack: AsyncExitStack
    consul: ConsulClient
    session: aiohttp.ClientSession
    authority: Authority
    files: Path
    payments: Application
    legacy: Application
    gateways: dict[str, Gateway]

    def url(self, service: str, path: str = "/") -> str:
        """Return the URL at which ``web``'s application calls ``service``."""
        port = self.estate.services["web"].upstreams[service]
        return f"http://{HOST}:{port}{path}"

    async def get(self, service: str, path: str = "/") -> tuple[int, str]:
        """Call once, and return status and body."""
        async with self.session.get(self.url(service, path)) as answer:
            return answer.status, await answer.text()

    async def answered(self, service: str, status: int) -> str:
        """Call until the answer has ``status``; return its body."""

        async def ask() -> str | None:
            found, text = await self.get(service)
            return text if found == status else None

        return await until(f"{service} answers {status}", ask, patience=30)

    async def say(self, service: str) -> str:
        """Dial a TCP service and return the line with which it begins; empty if it ends at once."""
        port = self.estate.services["web"].upstreams[service]
        reader, writer = await asyncio.open_connection(HOST, port)
        try:
            return (await asyncio.wait_for(reader.readline(), 5)).decode().strip()
        finally:
            writer.close()

    async def intention(self, action: Action, source: str, destination: str) -> None:
        """Write an intention."""
        await self.consul.intentions.put(Intention(source, destination, action))

    async def apply(self, *documents: dict[str, Any]) -> None:
        """Apply policies."""
        store = Policies(self.consul)
        held = await store.read("default")
        await store.commit([*puts(held, [parse(one, KINDS).raw for one in documents])])

    async def link(self, *services: dict[str, Any]) -> None:
        """Write the entry of the gateways."""
        entry = {"Kind": "terminating-gateway", "Name": ZONE_EGRESS, "Services": services}
        await self.consul.config_put(entry)

    async def gateway(self, name: str) -> Gateway:
        """Start an egress gateway."""
        found = await start_gateway(
            self.stack, self.estate, Role.EGRESS, name, {"files_dir": str(self.files)}
        )
        self.gateways[name] = found
        await found.ready()
        return found

    async def logged(self, *words: str) -> None:
        """Wait until a line of a gateway's log has all ``words``."""

        async def ask() -> bool | None:
            text = "".join(one.log.read_text() for one in self.gateways.values())
            return any(all(w in each for w in words) for each in text.splitlines()) or None

        await until(f"a gateway's log says {words}", ask)


def payments(port: int, authority: Authority) -> dict[str, Any]:
    spec = {
        "match": {"protocol": "http"},
        "endpoints": [{"address": "localhost", "port": port}],
        "tls": {"caCert": authority.bundle.read_text()},
        "egress": True,
    }
    return {"type": "MeshExternalService", "name": "payments", "spec": spec}


SEALED: Final = {"Name": "sealed", "CAFile": "sealed.pem", "SNI": "sealed.example"}


def legacy() -> dict[str, Any]:
    files = {"CAFile": "/etc/mesh/egress/ca.pem", "CertFile": "client.pem", "KeyFile": "client.key"}
    return {"Name": "legacy", "SNI": "legacy.example", **files}


@asynccontextmanager
async def _sealed(port: int, context: ssl.SSLContext) -> AsyncIterator[None]:
    async def greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"sealed\n")
        await reader.read()
        writer.close()

    async with await asyncio.start_server(greet, HOST, port, ssl=context):
        yield


@pytest_asyncio.fixture(scope="module", loop_scope="module", name="bed")
async def _bed(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Bed]:
    home = tmp_path_factory.mktemp("egress")
    authority = Authority(home)
    files = home / "files"
    files.mkdir()
    shown = authority.issue("shown", dns=["mesh.example"])
    (files / "ca.pem").write_bytes(authority.bundle.read_bytes())
    (files / "client.pem").write_bytes(shown.certificate.read_bytes())
    (files / "client.key").write_bytes(shown.key.read_bytes())
    async with AsyncExitStack() as stack:
        consul = await stack.enter_async_context(RealConsul(home))
        estate = await stack.enter_async_context(Estate(home / "estate", consul=consul.url))
        await estate.start_zone()
        client = await stack.enter_async_context(estate.client())
        session = await stack.enter_async_context(aiohttp.ClientSession())
        ports = free_ports(5)
        served = authority.issue("payments", dns=["localhost"])
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(served.certificate, served.key)
        paid = await stack.enter_async_context(http(Application("pay", ports[0]), tls=context))
        mutual = authority.server_context(authority.issue("legacy", dns=["legacy.example"]))
        old = await stack.enter_async_context(http(Application("old", ports[1]), tls=mutual))
        await stack.enter_async_context(line(Application("ledger", ports[2])))
        seal = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        named = authority.issue("sealed", dns=["sealed.example"])
        seal.load_cert_chain(named.certificate, named.key)
        (files / "sealed.pem").write_bytes(authority.bundle.read_bytes())
        await stack.enter_async_context(_sealed(ports[4], seal))
        for name, address, port in (
            ("legacy", "localhost", ports[1]),
            ("ledger", HOST, ports[2]),
            ("sealed", HOST, ports[4]),
        ):
            node = {"Node": f"out-{name}", "Address": address}
            await client.catalog_register({**node, "Service": {"Service": name, "Port": port}})
        await client.config_put({"Kind": "service-defaults", "Name": "legacy", "Protocol": "http"})
        bed = Bed(estate, stack, client, session, authority, files, paid, old, {})
        for service in UPSTREAMS:
            await bed.intention(Action.DENY, "*", service)
        await bed.link(legacy(), SEALED, {"Name": "ledger"})
        await bed.apply(payments(ports[0], authority))
        await estate.start_proxy(
            "web",
            app_port=ports[3],
            upstreams=UPSTREAMS,
            settings={"health": {"kind": "none"}},
        )
        await estate.ready()
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
