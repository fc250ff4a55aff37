"""Services outside the mesh on a real Envoy, over HTTP, TLS and plain TCP."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from mesh.envoy import listener
from mesh.model.destinations import (
    Balancing,
    Destination,
    External,
    Host,
    LoadBalancing,
    Selection,
    Settings,
    Target,
)
from mesh.model.services import Protocol
from tests.envoy.estate import Estate, running
from tests.envoy.place import (
    HOST,
    App,
    Place,
    envoy,
    filter_listener,
    of_destination,
    table_listeners,
    to_each,
)
from tests.policies.authority import Authority as AddressAuthority
from tests.xds.pki import Authority

pytestmark = [pytest.mark.e2e, pytest.mark.asyncio(loop_scope="module")]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def addresses(tmp_path_factory: pytest.TempPathFactory) -> AddressAuthority:
    return AddressAuthority(tmp_path_factory.mktemp("addresses"))


def public(certificate: Path, key: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    return context


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def estate(authority: Authority, addresses: AddressAuthority) -> AsyncIterator[Estate]:
    issued = authority.issue("shop", dns=["localhost"])
    secure = {
        "shop": public(issued.certificate, issued.key),
        "address": public(*addresses.issue("address", "urn:x")),
    }
    async with running("ab", secure) as found:
        yield found


def outside(name: str, external: External, protocol: Protocol = Protocol.HTTP) -> Any:
    settings = Settings(balancing=LoadBalancing(Balancing.ROUND_ROBIN))
    return of_destination(
        Destination(Selection(Target(name)), protocol, settings, external=external)
    )


def outside_clusters(
    apps: dict[str, App], authority: Authority, addresses: AddressAuthority
) -> list[Any]:
    shop = (Host("localhost", apps["shop"].port),)
    literal = (Host(HOST, apps["address"].port),)
    ours, theirs = authority.bundle.read_text(), addresses.root.read_text()
    plain_hosts = (Host(HOST, apps["a"].port), Host("localhost", apps["b"].port))
    mixed = (*shop, Host(HOST, apps["shop"].port))
    return [
        outside("plain-hosts", External(plain_hosts)),
        outside("public", External(shop, tls=True, ca=ours)),
        outside(
            "other-sni",
            External(shop, tls=True, sni="s.example", names=("localhost",), ca=ours),
        ),
        outside("other-name", External(shop, tls=True, names=("s.example",), ca=ours)),
        outside("other-ca", External(shop, tls=True, ca=theirs)),
        outside("system-ca", External(shop, tls=True)),
        outside("believing", External(shop, tls=True, ca=theirs, verify=False)),
        outside("literal", External(literal, tls=True, ca=theirs)),
        outside("several", External(mixed, tls=True, names=("localhost",), ca=ours)),
    ]


def tcp_listeners() -> list[Any]:
    weighted = [("tcp-a", 7000), ("tcp-b", 3000), ("nowhere", 0)]
    return [
        filter_listener("tcp-weighted", listener.tcp_proxy("w", weighted, attempts=2)),
        filter_listener("tcp-idle", listener.tcp_proxy("i", "tcp-a", idle_timeout=0.05)),
        filter_listener("tcp-bounded", listener.tcp_proxy("b", "tcp-a", max_duration=0.05)),
    ]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def tcp_clusters() -> AsyncIterator[list[Any]]:
    found = []
    async with AsyncExitStack() as stack:
        for name in ("tcp-a", "tcp-b"):

            async def greet(
                reader: asyncio.StreamReader, writer: asyncio.StreamWriter, name: str = name
            ) -> None:
                writer.write(name.encode())
                await reader.read()
                writer.close()

            server = await stack.enter_async_context(await asyncio.start_server(greet, HOST, 0))
            port = server.sockets[0].getsockname()[1]
            external = External((Host(HOST, port),))
            found.append(outside(name, external, Protocol.TCP))
        yield found


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def place(
    estate: Estate,
    authority: Authority,
    addresses: AddressAuthority,
    tcp_clusters: list[Any],
    tmp_path_factory: pytest.TempPathFactory,
) -> AsyncIterator[Place]:
    directory = tmp_path_factory.mktemp("envoy")
    clusters = outside_clusters(estate.apps, authority, addresses)
    listeners = [*table_listeners(to_each(clusters)), *tcp_listeners()]
    async with envoy(directory, listeners, [*clusters, *tcp_clusters]) as found:
        yield found


@pytest_asyncio.fixture(loop_scope="module")
async def apps(estate: Estate) -> AsyncIterator[dict[str, App]]:
    estate.forget()
    yield estate.apps
    for app in estate.apps.values():
        app.release()


async def test_external_hosts_share_the_traffic(place: Place, apps: dict[str, App]) -> None:
    assert await place.count("plain-hosts", 10) == {"a": 5, "b": 5}


@pytest.mark.parametrize(
    ("cluster", "server_name"),
    [
        ("public", "localhost"),
        ("other-sni", "s.example"),
        ("believing", "localhost"),
        ("literal", ""),
        ("several", "localhost"),
    ],
)
async def test_tls_to_an_external_service(
    place: Place, estate: Estate, apps: dict[str, App], cluster: str, server_name: str
) -> None:
    for _ in range(2):
        assert (await place.ask(cluster)).status == 200
    assert server_name in estate.server_names


@pytest.mark.parametrize("cluster", ["other-name", "other-ca", "system-ca"])
async def test_external_service_must_prove_itself(
    place: Place, estate: Estate, apps: dict[str, App], cluster: str
) -> None:
    assert (await place.ask(cluster)).status == 503
    assert estate.server_names == ["localhost"]
    assert not apps["shop"].seen


async def greeting(place: Place, name: str) -> tuple[bytes, asyncio.StreamWriter]:
    reader, writer = await asyncio.open_connection(HOST, place.ports[name])
    return await reader.read(5), writer


async def test_connections_are_divided_by_weight(place: Place) -> None:
    found: dict[bytes, int] = {b"tcp-a": 0, b"tcp-b": 0}
    for _ in range(100):
        name, writer = await greeting(place, "tcp-weighted")
        found[name] += 1
        writer.close()
        await writer.wait_closed()

    assert 8 <= found[b"tcp-b"] <= 55


@pytest.mark.parametrize("name", ["tcp-idle", "tcp-bounded"])
async def test_tcp_connections_end_in_time(place: Place, name: str) -> None:
    async with asyncio.timeout(5):
        reader, writer = await asyncio.open_connection(HOST, place.ports[name])
        assert await reader.read() == b"tcp-a"
        writer.close()
        await writer.wait_closed()
