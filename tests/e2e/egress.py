"""An estate with external services behind egress gateways: real Consul 1.8.7, real Envoys.

``payments`` is a MeshExternalService (HTTP inside, TLS outside), ``legacy`` and ``ledger`` are
services of the catalog on external nodes, named by a ``terminating-gateway`` entry: the one is
dialled by TLS with a certificate shown, the other (TCP) in plain text.  ``sealed`` is TCP by TLS.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import aiohttp

from mesh.clients.consul import ConsulClient
from mesh.clients.consul.policies import Policies
from mesh.clients.consul.policy_records import puts
from mesh.demo.estate import HOST, Estate, free_ports
from mesh.model.intentions import Action, Intention
from mesh.model.names import ZONE_EGRESS
from mesh.model.proxies import Role
from mesh.policies.document import parse
from mesh.policies.registry import KINDS
from tests.realconsul import RealConsul
from tests.traffic.applications import Application, http, line
from tests.traffic.gateways import Gateway, start_gateway
from tests.traffic.waiting import until
from tests.xds.pki import Authority

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


@asynccontextmanager
async def egress_bed(home: Path) -> AsyncIterator[Bed]:
    """Run it in ``home``, with a proxy of web and no gateway yet."""
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
