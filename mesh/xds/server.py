"""The zone's xDS server: every proxy's stream, and the changes that reach them.

The control plane knows what each proxy shall have and speaks through :class:`Directory` (who
may connect, and with what) and :meth:`XdsServer.publish` (what has changed, and for whom).
A change is encoded for the sessions it concerns only; changes that arrive while a session's
turn has not come are coalesced, the newest wins, and the first waits for nothing.
"""

from __future__ import annotations

import asyncio
import errno
import itertools
import logging
import socket
import ssl
from collections.abc import Callable, Mapping
from typing import Final, Protocol

from mesh.aio.clock import Clock, SystemClock
from mesh.envoy.resource import Snapshot
from mesh.model.identity import WorkloadId
from mesh.model.proxies import ProxyNeed
from mesh.xds.call import METHOD, ProxyCall
from mesh.xds.grpc_framing import Status, StatusError
from mesh.xds.limits import Limits
from mesh.xds.observer import Observer, Silent
from mesh.xds.pacing import Pacer
from mesh.xds.peer import Peer, identify
from mesh.xds.status import Connected, ProxyStatus
from mesh.xds.transport import Connection

_BACKLOG: Final = 4096

logger = logging.getLogger(__name__)


class ListenError(Exception):
    """The server cannot listen; the message says where, why, and what to do."""


class Directory(Protocol):
    """What each proxy shall have."""

    def connect(self, session: int, identity: WorkloadId, need: ProxyNeed) -> Snapshot | None:
        """Return what the proxy shall have now, and remember the session.

        None means that it is not known yet: the first :meth:`XdsServer.publish` for the session
        tells, and until then the proxy hears nothing.

        Raises:
            RefusedError: this proxy gets nothing.

        """

    def disconnect(self, session: int) -> None:
        """Forget a session."""


class XdsServer:
    """See the module."""

    def __init__(
        self,
        directory: Directory,
        tls: Callable[[], ssl.SSLContext],
        *,
        trust_domain: str,
        zone: str,
        limits: Limits | None = None,
        observer: Observer | None = None,
        clock: Clock | None = None,
        sweep_interval: float = 1.0,
    ) -> None:
        """Serve ``directory`` to workloads of ``zone``.

        ``tls`` is asked anew for each connection, so a rotated certificate or bundle is used
        at once; its context must require a client certificate.
        """
        self.limits = limits or Limits()
        self.observer: Observer = observer or Silent()
        self._directory = directory
        self._tls = tls
        self._trust_domain = trust_domain
        self._zone = zone
        self._clock = clock or SystemClock()
        self._sweep_interval = sweep_interval
        self._numbers = itertools.count(1)
        self._connections: set[Connection] = set()
        self._handshaking: set[Connection] = set()
        self._calls: dict[int, ProxyCall] = {}
        self._prepared: ssl.SSLContext | None = None
        self._server: asyncio.Server | None = None
        self._sweeping: asyncio.TimerHandle | None = None
        self._empty: asyncio.Event | None = None
        self.handshakes: Pacer
        self._pushes: Pacer

    # For the control plane

    async def start(self, host: str, port: int) -> int:
        """Listen and return the port (useful with port 0).

        Raises:
            ListenError: the address cannot be had.

        """
        loop = asyncio.get_running_loop()
        self.handshakes = Pacer(loop)
        self._pushes = Pacer(loop)
        # A context that cannot serve shall stop the start, not the first connection.
        self.context()
        try:
            self._server = await loop.create_server(
                lambda: Connection(self), host, port, backlog=_BACKLOG
            )
        except OSError as error:
            remedy = "choose an address of this host"
            if error.errno == errno.EADDRINUSE:
                remedy = (
                    f"see who holds it (ss -ltnp 'sport = :{port}') and stop that, "
                    "or choose another port"
                )
            raise ListenError(
                f"xDS cannot listen on {host}:{port}: {error.strerror}; {remedy}"
            ) from error
        self._sweeping = loop.call_later(self._sweep_interval, self._sweep)
        bound: int = self._server.sockets[0].getsockname()[1]
        logger.info("xDS server listens", extra={"host": host, "port": bound})
        return bound

    def publish(self, updates: Mapping[int, Snapshot]) -> None:
        """Give the sessions named their new snapshots; others hear nothing."""
        for number, snapshot in updates.items():
            call = self._calls.get(number)
            if call is not None and call.offer(snapshot):
                self._pushes.submit(call.push)

    def proxies(self) -> tuple[ProxyStatus, ...]:
        """Describe every connected proxy."""
        found = (call.status() for call in self._calls.values())
        return tuple(status for status in found if status is not None)

    def connected(self) -> tuple[Connected, ...]:
        """Say who is connected, and from where."""
        found = (call.connected() for call in self._calls.values())
        return tuple(one for one in found if one is not None)

    @property
    def connections(self) -> int:
        """How many sockets are open, those still in their handshake included."""
        return len(self._connections)

    def drop(self, session: int, reason: str = "dropped by the zone") -> bool:
        """End a session and its connection; False if there is none of that number."""
        call = self._calls.get(session)
        if call is None:
            return False
        call.connection.goodbye(Status.UNAVAILABLE, reason)
        return True

    async def close(self, grace: float) -> None:
        """Stop listening, tell every proxy to go elsewhere, and wait ``grace`` seconds."""
        if self._server is None:
            return
        self._server.close()
        self._server = None
        self._empty = asyncio.Event()
        if not self._connections:
            self._empty.set()
        for connection in tuple(self._connections):
            connection.goodbye(Status.UNAVAILABLE, "the zone's control plane is shutting down")
        try:
            async with asyncio.timeout(grace):
                await self._empty.wait()
        except TimeoutError:
            for connection in tuple(self._connections):
                connection.abort("it did not leave when the server closed")
            await self._empty.wait()
        if self._sweeping is not None:
            self._sweeping.cancel()
        self.handshakes.close()
        self._pushes.close()

    # For connections (transport.Host)

    def now(self) -> float:
        """Return the monotonic time."""
        return self._clock.monotonic()

    def wall(self) -> float:
        """Return the Unix time."""
        return self._clock.now().timestamp()

    def context(self) -> ssl.SSLContext:
        """Return the TLS settings in force, prepared for gRPC."""
        context = self._tls()
        if context is not self._prepared:
            if context.verify_mode is not ssl.CERT_REQUIRED:
                raise ValueError("the xDS server's TLS context must require a client certificate")
            context.set_alpn_protocols(["h2"])
            # A proxy connects once for days: tickets would be written for nothing.
            context.num_tickets = 0
            self._prepared = context
        return context

    def opened(self, connection: Connection) -> bool:
        """Take a connection in, unless too many are in their handshake."""
        self._connections.add(connection)
        if self._empty is not None or len(self._handshaking) >= self.limits.max_handshakes:
            return False
        self._handshaking.add(connection)
        connection.socket_option(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        return True

    def established(self, connection: Connection) -> None:
        """The handshake is done."""
        self._handshaking.discard(connection)

    def closed(self, connection: Connection) -> None:
        """The connection is gone."""
        self._handshaking.discard(connection)
        self._connections.discard(connection)
        if self._empty is not None and not self._connections:
            self._empty.set()

    def call(self, connection: Connection, stream: int, path: str) -> ProxyCall:
        """Open a proxy's stream."""
        try:
            peer = self._admissible(connection, path)
        except StatusError as error:
            self.observer.on_refused(error.status.name)
            facts = {"peer": connection.address}
            logger.warning("xDS stream refused: %s", error.message, extra=facts)
            raise
        return ProxyCall(self, connection, stream, next(self._numbers), peer)

    # For streams (call.Owner)

    def admit(self, call: ProxyCall, identity: WorkloadId, need: ProxyNeed) -> Snapshot | None:
        """Ask the directory and register the stream."""
        snapshot = self._directory.connect(call.number, identity, need)
        self._calls[call.number] = call
        return snapshot

    def leave(self, call: ProxyCall) -> None:
        """Forget a stream and tell the directory."""
        if self._calls.pop(call.number, None) is not None:
            self._directory.disconnect(call.number)
            logger.info("proxy left", extra={"session": call.number})

    def _admissible(self, connection: Connection, path: str) -> Peer:
        if path != METHOD:
            raise StatusError(Status.UNIMPLEMENTED, f"{path} is not served: use {METHOD}")
        certificate = connection.certificate()
        return identify(certificate, trust_domain=self._trust_domain, zone=self._zone)

    def _sweep(self) -> None:
        self._sweeping = asyncio.get_running_loop().call_later(self._sweep_interval, self._sweep)
        now = self.now()
        expired_before = self.wall() - self.limits.expiry_grace
        for call in tuple(self._calls.values()):
            if call.peer.not_after < expired_before:
                logger.info(
                    "certificate expired while connected",
                    extra={"session": call.number, "identity": call.peer.identity.uri},
                )
                call.connection.goodbye(
                    Status.UNAUTHENTICATED,
                    f"the certificate of {call.peer.identity.uri} has expired: "
                    "connect again with a renewed one",
                )
            else:
                call.tick(now)
        for connection in tuple(self._connections):
            connection.check(now)
