"""Who may not call does not get through, whatever name he asks for at which gateway."""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import pytest_asyncio

from mesh.model.identity import WorkloadId
from mesh.model.intentions import Action
from mesh.model.names import sni
from tests.agent.pki import Authority
from tests.traffic.waiting import until
from tests.zones.estates import Three, three

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.timeout(180),
]

DOMAIN = "demo.mesh"
REQUEST = b"GET / HTTP/1.1\r\nhost: orders\r\nconnection: close\r\n\r\n"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def found(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Three]:
    """The three zones, for all tests of the module."""
    async with three(tmp_path_factory.mktemp("zones")) as zones:
        yield zones


@dataclass(frozen=True, slots=True)
class Attacker:
    """Files of a certificate and its key."""

    certificate: Path
    key: Path

    def context(self) -> ssl.SSLContext:
        """Believe anybody, and say who we are."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        context.load_cert_chain(self.certificate, self.key)
        return context


async def asked(found: Three, who: Attacker | None, name: str) -> bytes:
    """Ask b's gateway for ``name`` over TLS, and return what comes back."""
    gateway = found.b.estate.services["gateway-1"]
    context = who.context() if who is not None else None
    if context is None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    try:
        async with asyncio.timeout(10):
            reader, writer = await asyncio.open_connection(
                found.b.host.address, gateway.inbound_port, ssl=context, server_hostname=name
            )
            writer.write(REQUEST)
            answer = await reader.read(4096)
            writer.close()
            return answer
    except (OSError, TimeoutError):
        return b""


async def logged(file: Path, words: str) -> None:
    async def so() -> bool | None:
        return True if words in await asyncio.to_thread(file.read_text) else None

    await until(f"{file.name} tells of {words}", so)


def log_of(found: Three, name: str) -> Path:
    """Return the log of a proxy of zone b."""
    return found.b.estate.directory / "logs" / f"{name}.log"


def insider(found: Three, service: str) -> Attacker:
    """Return the identity of a workload of zone a, stolen from its host."""
    state = found.a.estate.services[service].state
    return Attacker(state / "svid.pem", state / "svid.key")


def outsider(directory: Path, identity: WorkloadId) -> Attacker:
    """Return the identity with a certificate by an authority of the forger's own."""
    certificate, key = Authority(identity.trust_domain).leaf(uri=identity.uri)
    (directory / "forged.pem").write_text(certificate)
    (directory / "forged.key").write_text(key)
    return Attacker(directory / "forged.pem", directory / "forged.key")


async def test_refusals_at_the_destination(found: Three) -> None:
    orders = sni("orders", "b", DOMAIN)
    web = insider(found, "web")
    assert b"200 OK" in await asked(found, web, orders)
    # A workload of zone a asks for zone b's service, for which it has no intention.
    await found.allow("web", "orders", Action.DENY)

    async def denied() -> bool | None:
        return True if not await asked(found, web, orders) else None

    await until("the destination refuses", denied, patience=30)
    await logged(log_of(found, "orders-1"), "/dc/a/svc/web: TLS_error")
    # Its own proxy tells it so in words, and makes no connection.
    status, words = await found.status(found.a.url("web", "orders"))
    assert status == 403
    assert "mesh intention allow web orders" in words
    await found.allow("web", "orders")
    await found.answers(found.a.url("web", "orders"), "b")


async def test_refusals_at_the_gateway(found: Three) -> None:
    web = insider(found, "web")
    log = log_of(found, "gateway-1")
    names = (
        sni("stolen", "b", DOMAIN),
        sni("orders", "c", DOMAIN),
        sni("orders", "b", "other.mesh"),
        "example.com",
    )
    for name in (*names, "mesh:zone"):
        assert not await asked(found, web, name)
    # Envoy writes its log every ten seconds.
    for name in names:
        await logged(log, name)
    assert "mesh-gateway" not in json.dumps(sorted(await _exported(found)))


async def test_a_certificate_of_a_wrong_authority_is_refused(found: Three, tmp_path: Path) -> None:
    orders = sni("orders", "b", DOMAIN)
    domains = (DOMAIN, "other.mesh")
    for number, domain in enumerate(domains):
        directory = tmp_path / f"forger-{number}"
        directory.mkdir()
        forger = outsider(directory, WorkloadId(domain, "a", "web"))
        assert not await asked(found, forger, orders)
    for domain in domains:
        await logged(
            log_of(found, "orders-1"), f"spiffe://{domain}/ns/default/dc/a/svc/web: TLS_error"
        )
    # Nor is a caller without any.
    assert not await asked(found, None, orders)
    assert b"200 OK" in await asked(found, insider(found, "web"), orders)


async def _exported(found: Three) -> dict[str, object]:
    services: dict[str, object] = (await found.zones_seen(found.a))["b"]["services"]
    return services
