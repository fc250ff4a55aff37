"""A server on loopback, a directory that can be read by a person, and a grpcio client."""

from __future__ import annotations

import asyncio
import itertools
import ssl
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import pytest
from envoy.service.discovery.v3 import discovery_pb2

from mesh.aio.clock import ManualClock
from mesh.envoy.resource import Snapshot
from mesh.model.identity import WorkloadId, ZoneId
from mesh.model.proxies import METADATA_KEY, ProxyNeed
from mesh.xds.call import METHOD, RefusedError
from mesh.xds.limits import Limits
from mesh.xds.server import XdsServer
from tests.xds.model import Content, snapshot
from tests.xds.pki import Authority, Files

DOMAIN = "mesh.test"
ZONE = ZoneId(DOMAIN, "dc1")
WEB = WorkloadId(DOMAIN, "dc1", "web")


class Book:
    """A directory with one snapshot for everybody, that notes who came and went."""

    def __init__(self) -> None:
        """Start empty."""
        self.snapshot: Snapshot | None = {}
        self.refuse: set[str] = set()
        self.sessions: dict[int, ProxyNeed] = {}

    def connect(self, session: int, identity: WorkloadId, need: ProxyNeed) -> Snapshot | None:
        """Note a session; without a snapshot it is told later."""
        if identity.service in self.refuse:
            raise RefusedError(f"{identity.service} is not registered: register it first")
        self.sessions[session] = need
        return self.snapshot

    def disconnect(self, session: int) -> None:
        """Forget a session."""
        del self.sessions[session]


@dataclass
class Counts:
    """An observer that keeps all it hears."""

    pushed: list[str] = field(default_factory=list)
    acked: list[str] = field(default_factory=list)
    nacked: list[tuple[str, ...]] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)

    def on_push(self, type_url: str, size: int) -> None:
        """Keep the type."""
        assert size > 0
        self.pushed.append(type_url)

    def on_ack(self, type_url: str, seconds: float) -> None:
        """Keep the type."""
        assert seconds >= 0
        self.acked.append(type_url)

    def on_nack(self, type_url: str, names: tuple[str, ...]) -> None:
        """Keep the names."""
        assert type_url
        self.nacked.append(names)

    def on_refused(self, status: str) -> None:
        """Keep the status."""
        self.refused.append(status)


@dataclass
class Zone:
    """A running server and what is around it."""

    server: XdsServer
    port: int
    book: Book
    counts: Counts
    clock: ManualClock
    contexts: list[ssl.SSLContext]
    server_files: Files

    def publish(self, content: Content) -> None:
        """Give everybody ``content``."""
        self.book.snapshot = made = snapshot(content)
        self.server.publish(dict.fromkeys(self.book.sessions, made))


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("pki"))


@pytest.fixture(scope="session")
def web(authority: Authority) -> Files:
    return authority.issue("web", [WEB.uri])


@pytest.fixture
def limits() -> Limits:
    return Limits()


@pytest.fixture
async def zone(authority: Authority, limits: Limits) -> AsyncIterator[Zone]:
    files = authority.issue("zone", [ZONE.uri], [ZONE.server_name])
    contexts = [authority.server_context(files)]
    book, counts, clock = Book(), Counts(), ManualClock()
    server = XdsServer(
        book,
        lambda: contexts[-1],
        trust_domain=DOMAIN,
        zone="dc1",
        limits=limits,
        observer=counts,
        clock=clock,
        sweep_interval=0.01,
    )
    port = await server.start("127.0.0.1", 0)
    try:
        yield Zone(server, port, book, counts, clock, contexts, files)
    finally:
        await server.close(0.1)


def need(service: str = "web", zone: str = "dc1") -> ProxyNeed:
    return ProxyNeed(service, zone, None)


def _serialise(request: discovery_pb2.DeltaDiscoveryRequest | bytes) -> bytes:
    return request if isinstance(request, bytes) else request.SerializeToString()


class Stream:
    """A delta stream opened with grpcio."""

    def __init__(self, call: Any, node: dict[str, Any] | None) -> None:
        """Send ``node`` as metadata with the first request."""
        self.call = call
        self._node = node

    async def send(self, request: discovery_pb2.DeltaDiscoveryRequest) -> None:
        """Send one request."""
        if self._node is not None:
            request.node.id = f"{self._node.get('service')}/1"
            request.node.metadata.update({METADATA_KEY: self._node})
            self._node = None
        await self.call.write(request)

    async def read(self) -> discovery_pb2.DeltaDiscoveryResponse:
        """Return the next response."""
        async with asyncio.timeout(10):
            found = await self.call.read()
        assert found is not grpc.aio.EOF, await self.end()
        return found

    async def end(self) -> tuple[str, str]:
        """Wait for the end; return status name and message."""
        async with asyncio.timeout(10):
            code = await self.call.code()
            return code.name, await self.call.details()


Dial = Callable[..., Stream]


@pytest.fixture
async def dial(zone: Zone, authority: Authority, web: Files) -> AsyncIterator[Dial]:
    """Open streams: ``dial(files, metadata)``; all end with the test."""
    channels: list[Any] = []
    numbers = itertools.count()

    def open_stream(
        files: Files | None = web,
        metadata: dict[str, Any] | None = None,
        method: str = METHOD,
    ) -> Stream:
        credentials = grpc.ssl_channel_credentials(
            authority.bundle.read_bytes(),
            None if files is None else files.key.read_bytes(),
            None if files is None else files.certificate.read_bytes(),
        )
        options = [
            ("grpc.ssl_target_name_override", ZONE.server_name),
            # Otherwise channels with equal settings share a connection.
            ("grpc.channel_id", next(numbers)),
        ]
        channel = grpc.aio.secure_channel(f"127.0.0.1:{zone.port}", credentials, options)
        channels.append(channel)
        call = channel.stream_stream(
            method,
            request_serializer=_serialise,
            response_deserializer=discovery_pb2.DeltaDiscoveryResponse.FromString,
        )
        return Stream(call(), need().to_metadata() if metadata is None else metadata)

    yield open_stream
    for channel in channels:
        await channel.close()


@pytest.fixture
def state(tmp_path: Path) -> Path:
    return tmp_path
