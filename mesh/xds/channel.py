"""gRPC over HTTP/2, the server's side, without a socket.

Plaintext goes in through :meth:`Channel.receive` and reaches a :class:`Call` as whole messages;
responses queue per call, and :meth:`Channel.drain` gives out what the client's flow control
allows, a bounded piece at a time, so that nothing is encoded before it can leave.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Protocol

import h2.config
import h2.connection
import h2.errors
import h2.events
import h2.exceptions
import h2.settings

from mesh.xds import grpc_framing
from mesh.xds.grpc_framing import Decoder, Status, StatusError
from mesh.xds.h2_settings import CompactSettings
from mesh.xds.limits import Limits

_CHUNK: Final = 64 * 1024

BrokenProtocolError = h2.exceptions.ProtocolError
"""The client does not speak HTTP/2 as it should."""


class Call(Protocol):
    """One gRPC call, from its headers to its end."""

    def receive(self, message: bytes) -> None:
        """Take one message; raise :class:`StatusError` to end the call."""

    def ended(self) -> None:
        """The call is over, whoever ended it."""


class _Stream:
    """A call's place on the connection."""

    __slots__ = ("call", "decoder", "queue")

    def __init__(self, call: Call, limit: int) -> None:
        self.call = call
        self.decoder = Decoder(limit)
        self.queue: list[bytes | memoryview] = []


class Channel:
    """One client's calls."""

    __slots__ = ("_h2", "_limits", "_open", "_streams", "buffered")

    def __init__(self, open_call: Callable[[int, str], Call], limits: Limits) -> None:
        """Open calls with ``open_call(stream id, path)``, which may raise StatusError."""
        self._open = open_call
        self._limits = limits
        self._streams: dict[int, _Stream] = {}
        self.buffered = 0
        """Bytes queued that flow control has not let go."""
        configuration = h2.config.H2Configuration(client_side=False)
        self._h2 = h2.connection.H2Connection(configuration)
        self._h2.local_settings = CompactSettings(
            client=False,
            initial_values={h2.settings.SettingCodes.MAX_CONCURRENT_STREAMS: limits.max_streams},
        )
        self._h2.remote_settings = CompactSettings(client=True)
        self._h2.initiate_connection()

    def receive(self, data: bytes) -> None:
        """Take plaintext.

        Raises:
            BrokenProtocolError: it is not HTTP/2; :meth:`drain` has the frame that says so.

        """
        for event in self._h2.receive_data(data):
            match event:
                case h2.events.DataReceived():
                    self._h2.acknowledge_received_data(
                        event.flow_controlled_length, event.stream_id
                    )
                    self._data(event.stream_id, event.data)
                case h2.events.RequestReceived():
                    self._request(event)
                case h2.events.StreamEnded():
                    self.finish(event.stream_id, Status.OK)
                case h2.events.StreamReset():
                    self._forget(event.stream_id)
                case _:
                    # Settings, windows and pings: h2 has dealt with them.
                    pass

    def send(self, stream_id: int, body: bytes) -> None:
        """Queue one message."""
        stream = self._streams.get(stream_id)
        if stream is not None:
            message = grpc_framing.frame(body)
            stream.queue.append(message)
            self.buffered += len(message)

    def finish(self, stream_id: int, status: Status, message: str = "") -> None:
        """End one call; what is queued for it is dropped."""
        if stream_id in self._streams:
            self._end(stream_id, grpc_framing.trailers(status, message))
            self._forget(stream_id)

    def ping(self) -> None:
        """Ask the client for a sign of life."""
        self._h2.ping(bytes(8))

    def close(self, status: Status, message: str) -> None:
        """End every call and tell the client to open no more."""
        for stream_id in tuple(self._streams):
            self.finish(stream_id, status, message)
        self._h2.close_connection()

    def abandon(self) -> None:
        """The connection is gone: end every call without a word."""
        for stream_id in tuple(self._streams):
            self._forget(stream_id)

    def drain(self) -> bytes:
        """Return the next piece that may be written; empty when there is none."""
        room = _CHUNK
        if self.buffered:
            for stream_id, stream in self._streams.items():
                if stream.queue:
                    room -= self._move(stream_id, stream.queue, room)
                if room <= 0:
                    break
        return self._h2.data_to_send()

    def _move(self, stream_id: int, queue: list[bytes | memoryview], room: int) -> int:
        moved = done = 0
        while done < len(queue) and moved < room:
            part = queue[done]
            window = min(
                self._h2.local_flow_control_window(stream_id), self._h2.max_outbound_frame_size
            )
            if window <= 0:
                break
            if len(part) <= window:
                done += 1
            else:
                view = memoryview(part)
                part, queue[done] = view[:window], view[window:]
            self._h2.send_data(stream_id, part)
            moved += len(part)
        del queue[:done]
        self.buffered -= moved
        return moved

    def _request(self, event: h2.events.RequestReceived) -> None:
        headers = dict(event.headers)
        if not headers.get(b"content-type", b"").startswith(b"application/grpc"):
            self._end(event.stream_id, [(":status", "415")])
            return
        try:
            call = self._open(event.stream_id, headers.get(b":path", b"").decode("latin-1"))
        except StatusError as error:
            fields = grpc_framing.trailers(error.status, error.message)
            self._end(event.stream_id, grpc_framing.RESPONSE_HEADERS + fields)
            return
        self._streams[event.stream_id] = _Stream(call, self._limits.max_message)
        self._h2.send_headers(event.stream_id, grpc_framing.RESPONSE_HEADERS)

    def _data(self, stream_id: int, data: bytes) -> None:
        stream = self._streams.get(stream_id)
        if stream is None:
            return
        try:
            for message in stream.decoder.feed(data):
                stream.call.receive(message)
        except StatusError as error:
            self.finish(stream_id, error.status, error.message)

    def _end(self, stream_id: int, fields: grpc_framing.Headers) -> None:
        try:
            self._h2.send_headers(stream_id, fields, end_stream=True)
            self._h2.reset_stream(stream_id, h2.errors.ErrorCodes.NO_ERROR)
        except (h2.exceptions.StreamClosedError, h2.exceptions.NoSuchStreamError):
            # The client had ended its side already: nothing is left to reset.
            return

    def _forget(self, stream_id: int) -> None:
        stream = self._streams.pop(stream_id, None)
        if stream is not None:
            self.buffered -= sum(len(part) for part in stream.queue)
            stream.call.ended()
