"""One client's connection: TLS and a gRPC channel on an asyncio protocol, and its time limits.

Everything happens in callbacks; no task runs per connection or stream.  One pump moves what is
queued as far as the client and the socket take it.  A handshake costs a hundred times what a
message costs, so its steps go through the host's :class:`~mesh.xds.pacing.Pacer`.  The host's
sweep calls :meth:`Connection.check` about every second: cheaper than a timer per connection.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
from typing import Any, Final, Protocol, cast

from mesh.model import hostport
from mesh.xds.channel import BrokenProtocolError, Call, Channel
from mesh.xds.grpc_framing import Status
from mesh.xds.limits import Limits
from mesh.xds.pacing import Pacer
from mesh.xds.tls import TlsPipe

logger = logging.getLogger(__name__)

_LINGER_SECONDS: Final = 2.0
# One buffer for all: the loop fills it and hands it over before it reads another socket.
_inbox: Final = memoryview(bytearray(64 * 1024))


class Host(Protocol):
    """What a connection needs from its server."""

    limits: Limits
    handshakes: Pacer

    def now(self) -> float:
        """Return the monotonic time."""

    def context(self) -> ssl.SSLContext:
        """Return the TLS settings of a new connection."""

    def opened(self, connection: Connection) -> bool:
        """Note a new connection; False turns it away."""

    def established(self, connection: Connection) -> None:
        """Note that the TLS handshake is done."""

    def closed(self, connection: Connection) -> None:
        """Note that the connection is gone."""

    def call(self, connection: Connection, stream: int, path: str) -> Call:
        """Open a call; raise StatusError to refuse it."""


class Connection(asyncio.BufferedProtocol):
    """See the module."""

    __slots__ = (
        "_channel",
        "_closing_at",
        "_early",
        "_heard_at",
        "_host",
        "_opened_at",
        "_paused",
        "_pinged_at",
        "_stuck_since",
        "_tls",
        "_transport",
        "address",
        "bytes_sent",
    )

    def __init__(self, host: Host) -> None:
        """Wait for the transport."""
        self._host = host
        self._transport: asyncio.Transport | None = None
        self._tls: TlsPipe | None = None
        self._channel: Channel | None = None
        self._early = b""
        self._paused = False
        self._opened_at = self._heard_at = host.now()
        self._pinged_at: float | None = None
        self._stuck_since: float | None = None
        self._closing_at: float | None = None
        self.address = ""
        self.bytes_sent = 0

    # asyncio's side

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the socket."""
        self._transport = cast("asyncio.Transport", transport)
        # A client that is gone already has no name.
        host, port, *_ = transport.get_extra_info("peername") or ("unknown", 0)
        self.address = hostport.join(host, port)
        if not self._host.opened(self):
            self._transport.abort()

    def get_buffer(self, sizehint: int) -> memoryview:
        """Lend the shared buffer."""
        del sizehint
        return _inbox

    def buffer_updated(self, nbytes: int) -> None:
        """Take what the socket had."""
        if self._closing_at is not None:
            return
        if self._channel is not None:
            self._receive(_inbox[:nbytes])
            return
        if not self._early:
            self._host.handshakes.submit(self._handshake)
        self._early += _inbox[:nbytes]
        if len(self._early) > len(_inbox):
            self.abort("too many bytes before the end of the TLS handshake")

    def pause_writing(self) -> None:
        """Let the socket catch up."""
        self._paused = True
        self._stuck_since = self._stuck_since or self._host.now()

    def resume_writing(self) -> None:
        """Go on: the socket has caught up."""
        self._paused = False
        self._stuck_since = None
        self.pump()

    def connection_lost(self, error: Exception | None) -> None:
        """End every call: the socket is gone."""
        del error
        self._early = b""
        self._closing_at = self._closing_at or self._host.now()
        if self._channel is not None:
            self._channel.abandon()
        self._host.closed(self)

    # The host's side

    def socket_option(self, level: int, option: int, value: int) -> None:
        """Set an option of the socket."""
        if self._transport is not None:
            self._transport.get_extra_info("socket").setsockopt(level, option, value)

    def certificate(self) -> dict[str, Any] | None:
        """Return the client's verified certificate, as ``SSLObject.getpeercert`` does."""
        return None if self._tls is None else self._tls.connection.getpeercert()

    def send(self, stream: int, body: bytes) -> None:
        """Queue one message; :meth:`pump` moves it."""
        if self._channel is not None:
            self._channel.send(stream, body)

    def pump(self) -> None:
        """Write as much of what is queued as the client and the socket take."""
        channel = self._channel
        if channel is None or self._closing_at is not None or self._transport is None:
            return
        before = channel.buffered
        self._flush(channel)
        if channel.buffered < before or not (channel.buffered or self._paused):
            self._stuck_since = None
        if channel.buffered and self._stuck_since is None:
            self._stuck_since = self._host.now()
        if channel.buffered + self._transport.get_write_buffer_size() > (
            self._host.limits.max_buffered
        ):
            self.abort("it does not read: too many bytes wait for it")

    def goodbye(self, status: Status, message: str) -> None:
        """End every call and the connection; the client is expected to connect again."""
        if self._closing_at is not None or self._transport is None:
            return
        if self._channel is None or self._tls is None:
            self._transport.abort()
            return
        self._channel.close(status, message)
        self._flush(self._channel, even_paused=True)
        self._write(self._tls.close())
        self._closing_at = self._host.now() + _LINGER_SECONDS
        # Our side only: the client closes once it has read this.  To close both might reset the
        # connection over a request on its way, and lose the message.
        try:
            self._transport.write_eof()
        except OSError:
            # The client is gone already.
            self._transport.abort()

    def abort(self, reason: str) -> None:
        """Cut the connection."""
        if self._transport is not None and not self._transport.is_closing():
            facts = {"peer": self.address, "reason": reason}
            logger.warning("xDS client dropped: %s", reason, extra=facts)
            self._transport.abort()

    def check(self, now: float) -> None:
        """Hold the connection to its time limits."""
        limits = self._host.limits
        if self._closing_at is not None:
            if now >= self._closing_at and self._transport is not None:
                self._transport.abort()
        elif self._channel is None:
            if now - self._opened_at > limits.handshake_timeout:
                self.abort(f"no TLS handshake within {limits.handshake_timeout:g} s")
        elif self._stuck_since is not None and now - self._stuck_since > limits.stall_timeout:
            self.abort(f"it has read nothing for {limits.stall_timeout:g} s")
        elif self._pinged_at is not None:
            if now - self._pinged_at > limits.ping_timeout:
                self.abort(f"no answer to a ping for {limits.ping_timeout:g} s")
        elif now - self._heard_at > limits.ping_interval:
            self._pinged_at = now
            self._channel.ping()
            self.pump()

    # Between the two

    def _handshake(self) -> None:
        data, self._early = self._early, b""
        transport = self._transport
        if transport is None or transport.is_closing() or not data:
            return
        if self._tls is None:
            self._tls = TlsPipe(self._host.context())
        try:
            plain = self._tls.receive(data)
        except ssl.SSLError as error:
            # The alert goes out, so that the client can say what was wrong.
            self._write(self._tls.outgoing())
            reason = error.reason or str(error)
            facts = {"peer": self.address, "reason": reason}
            logger.warning("xDS client refused in the TLS handshake: %s", reason, extra=facts)
            transport.close()
            return
        self._write(self._tls.outgoing())
        if self._tls.established:
            self._channel = Channel(self._open, self._host.limits)
            self._host.established(self)
            self._take(self._channel, plain)

    def _open(self, stream: int, path: str) -> Call:
        return self._host.call(self, stream, path)

    def _receive(self, data: memoryview) -> None:
        if self._tls is None or self._channel is None or self._transport is None:
            return
        try:
            plain = self._tls.receive(data)
        except ssl.SSLError as error:
            self.abort(f"it broke TLS: {error.reason}")
            return
        self._take(self._channel, plain)
        if self._tls.closed:
            self._transport.close()

    def _take(self, channel: Channel, plain: bytes) -> None:
        if plain:
            self._heard_at = self._host.now()
            self._pinged_at = None
            try:
                channel.receive(plain)
            except BrokenProtocolError as error:
                self._flush(channel)
                self.abort(f"it broke HTTP/2: {error}")
                return
        self.pump()

    def _flush(self, channel: Channel, *, even_paused: bool = False) -> None:
        while self._tls is not None and (even_paused or not self._paused):
            data = channel.drain()
            if not data:
                return
            self._write(self._tls.send(data))

    def _write(self, data: bytes) -> None:
        if data and self._transport is not None and not self._transport.is_closing():
            self.bytes_sent += len(data)
            self._transport.write(data)
