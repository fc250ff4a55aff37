"""One simulated proxy: the client's side of mTLS, HTTP/2, gRPC and incremental ADS.

It behaves as Envoy does, as far as a server can tell: it asks for clusters and listeners, then
for whatever those refer to, acknowledges every response, and drops what it no longer refers
to.  It understands nothing of what it is given.
"""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Final, Protocol, cast

import h2.config
import h2.connection
import h2.events
import h2.settings
from envoy.service.discovery.v3 import discovery_pb2

from mesh.envoy.resource import CLUSTER, LISTENER
from mesh.model.proxies import METADATA_KEY, ProxyNeed
from mesh.xds.call import METHOD
from mesh.xds.grpc_framing import Decoder, frame
from mesh.xds.tls import TlsPipe
from tests.bench.references import Reference, references

_WINDOW: Final = 1 << 30
_LARGEST: Final = 64 << 20
_inbox: Final = memoryview(bytearray(256 * 1024))


@dataclass(slots=True)
class Ack:
    """A response as one proxy acknowledged it, at ``at`` (CLOCK_MONOTONIC)."""

    proxy: int
    type_url: str
    changed: dict[str, str]
    removed: frozenset[str]
    at: float = 0.0


class Events(Protocol):
    """Who wants to hear of a proxy."""

    def heard(self, ack: Ack) -> None:
        """Note an acknowledgement that has been written."""

    def finished(self, proxy: SimulatedProxy) -> None:
        """Note that a proxy has all that it refers to, or is lost."""


@dataclass(slots=True)
class _Held:
    """What the proxy has of one type, and what it waits for."""

    versions: dict[str, str] = field(default_factory=dict)
    refers: dict[str, frozenset[Reference]] = field(default_factory=dict)
    names: set[str] = field(default_factory=set)
    unanswered: set[str] = field(default_factory=set)
    answered: bool = False


class SimulatedProxy(asyncio.BufferedProtocol):
    """See the module."""

    def __init__(
        self,
        number: int,
        need: ProxyNeed,
        context: ssl.SSLContext,
        server_name: str,
        events: Events,
    ) -> None:
        """Prepare proxy ``number``; ``events`` hears of what it does."""
        self.number = number
        self.need = need
        self.established: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.lost = False
        self.complete_at: float | None = None
        self.received = 0
        self.responses = 0
        self.status = ""
        self._events = events
        self._tls = TlsPipe(context, server_name=server_name)
        self._h2 = h2.connection.H2Connection(h2.config.H2Configuration(client_side=True))
        self._transport: asyncio.Transport | None = None
        self._decoder = Decoder(_LARGEST)
        self._stream = 0
        self._types: dict[str, _Held] = {}

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Say hello."""
        self._transport = cast("asyncio.Transport", transport)
        self._tls.handshake()
        self._transport.write(self._tls.outgoing())

    def get_buffer(self, sizehint: int) -> memoryview:
        """Lend the shared buffer."""
        del sizehint
        return _inbox

    def buffer_updated(self, nbytes: int) -> None:
        """Take what the socket had."""
        if self._transport is None:
            return
        self.received += nbytes
        began = self._tls.established
        try:
            plain = self._tls.receive(_inbox[:nbytes])
        except ssl.SSLError as error:
            self._fail(error)
            return
        self._transport.write(self._tls.outgoing())
        if self._tls.established and not began:
            self._begin()
        acks = self._take(plain) if plain else []
        self._flush()
        at = time.monotonic()
        for ack in acks:
            ack.at = at
            self._events.heard(ack)
        if acks and self.complete_at is None and self._complete():
            self.complete_at = at
            self._events.finished(self)

    def connection_lost(self, error: Exception | None) -> None:
        """Note the end."""
        self.lost = True
        if self.complete_at is None:
            self._events.finished(self)
        self._fail(error or ConnectionError("closed before the handshake was done"))

    def close(self) -> None:
        """Go away."""
        if self._transport is not None:
            self._transport.close()

    def has(self, type_url: str, name: str) -> bool:
        """Whether the proxy was given a resource."""
        held = self._types.get(type_url)
        return held is not None and name in held.versions

    def _take(self, plain: bytes) -> list[Ack]:
        acks: list[Ack] = []
        for event in self._h2.receive_data(plain):
            match event:
                case h2.events.DataReceived():
                    length = event.flow_controlled_length
                    self._h2.acknowledge_received_data(length, self._stream)
                    acks += map(self._respond, self._decoder.feed(event.data))
                case h2.events.TrailersReceived():
                    self.status = str(dict(event.headers))
                case h2.events.ConnectionTerminated():
                    self.close()
                case _:
                    pass
        return acks

    def _fail(self, error: Exception) -> None:
        if not self.established.done():
            self.established.set_exception(error)
        if self._transport is not None:
            self._transport.abort()

    def _begin(self) -> None:
        self._h2.initiate_connection()
        self._h2.update_settings({h2.settings.SettingCodes.INITIAL_WINDOW_SIZE: _WINDOW})
        self._h2.increment_flow_control_window(_WINDOW)
        self._stream = self._h2.get_next_available_stream_id()
        headers = [
            (":method", "POST"),
            (":scheme", "https"),
            (":path", METHOD),
            (":authority", "zone"),
            ("te", "trailers"),
            ("content-type", "application/grpc"),
        ]
        self._h2.send_headers(self._stream, headers)
        first = discovery_pb2.DeltaDiscoveryRequest(type_url=CLUSTER)
        first.node.id = f"{self.need.service}/{self.number}"
        first.node.cluster = self.need.service
        first.node.metadata.update({METADATA_KEY: self.need.to_metadata()})
        self._send(first)
        self._send(discovery_pb2.DeltaDiscoveryRequest(type_url=LISTENER))
        self._types = {CLUSTER: _Held(), LISTENER: _Held()}
        self.established.set_result(None)

    def _respond(self, message: bytes) -> Ack:
        self.responses += 1
        response = discovery_pb2.DeltaDiscoveryResponse.FromString(message)
        held = self._types[response.type_url]
        held.answered = True
        changed: dict[str, str] = {}
        for one in response.resources:
            changed[one.name] = one.version
            found = references(response.type_url, one.name, one.version, one.resource)
            if found:
                held.refers[one.name] = found
        held.versions.update(changed)
        removed = frozenset(response.removed_resources)
        for name in removed:
            held.versions.pop(name, None)
            held.refers.pop(name, None)
        held.unanswered -= changed.keys() | removed
        self._send(
            discovery_pb2.DeltaDiscoveryRequest(
                type_url=response.type_url, response_nonce=response.nonce
            )
        )
        if response.type_url in (CLUSTER, LISTENER):
            self._follow()
        return Ack(self.number, response.type_url, changed, removed)

    def _follow(self) -> None:
        wanted: dict[str, set[str]] = {
            type_url: set() for type_url in self._types if type_url not in (CLUSTER, LISTENER)
        }
        for origin in (CLUSTER, LISTENER):
            for found in self._types[origin].refers.values():
                for type_url, name in found:
                    wanted.setdefault(type_url, set()).add(name)
        for type_url, names in wanted.items():
            held = self._types.setdefault(type_url, _Held())
            self._interest(type_url, held, names - held.names, held.names - names)

    def _interest(
        self, type_url: str, held: _Held, added: Iterable[str], dropped: Iterable[str]
    ) -> None:
        added, dropped = set(added), set(dropped)
        if not added and not dropped:
            return
        held.names |= added
        held.names -= dropped
        held.unanswered |= added
        held.unanswered -= dropped
        for name in dropped:
            held.versions.pop(name, None)
        self._send(
            discovery_pb2.DeltaDiscoveryRequest(
                type_url=type_url,
                resource_names_subscribe=added,
                resource_names_unsubscribe=dropped,
            )
        )

    def _complete(self) -> bool:
        asked = self._types.values()
        return all(held.answered and not held.unanswered for held in asked)

    def _send(self, request: Any) -> None:
        self._h2.send_data(self._stream, frame(request.SerializeToString()))

    def _flush(self) -> None:
        data = self._h2.data_to_send()
        if data and self._transport is not None:
            self._transport.write(self._tls.send(data))
