"""gRPC's own bytes inside an HTTP/2 stream: length-prefixed messages and status trailers.

Source: https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md.
"""

from __future__ import annotations

import enum
import struct
from typing import Final
from urllib.parse import quote

_PREFIX: Final = struct.Struct(">BI")

Headers = list[tuple[str, str]]

RESPONSE_HEADERS: Final[Headers] = [(":status", "200"), ("content-type", "application/grpc")]


class Status(enum.IntEnum):
    """The status codes that this server answers with."""

    OK = 0
    INVALID_ARGUMENT = 3
    PERMISSION_DENIED = 7
    RESOURCE_EXHAUSTED = 8
    UNIMPLEMENTED = 12
    UNAVAILABLE = 14
    UNAUTHENTICATED = 16


class StatusError(Exception):
    """A call ends with ``status``; the message is for the caller's log."""

    def __init__(self, status: Status, message: str) -> None:
        """Keep the status beside the message."""
        super().__init__(message)
        self.status = status
        self.message = message


def frame(body: bytes) -> bytes:
    """Return ``body`` as one uncompressed message."""
    return _PREFIX.pack(0, len(body)) + body


def trailers(status: Status, message: str = "") -> Headers:
    """Return the trailers that end a call."""
    fields = [("grpc-status", str(int(status)))]
    if message:
        fields.append(("grpc-message", quote(message, safe=" !#$&'()*+,/:;<=>?@[]^`{|}")))
    return fields


class Decoder:
    """Cuts a stream of bytes into messages."""

    __slots__ = ("_buffer", "_limit")

    def __init__(self, limit: int) -> None:
        """Refuse messages of more than ``limit`` bytes."""
        self._buffer = b""
        self._limit = limit

    def feed(self, data: bytes) -> list[bytes]:
        """Return the messages that ``data`` completes.

        Raises:
            StatusError: a message is compressed or too large.

        """
        buffer = self._buffer + data if self._buffer else data
        messages: list[bytes] = []
        position = 0
        while len(buffer) - position >= _PREFIX.size:
            compressed, size = _PREFIX.unpack_from(buffer, position)
            if compressed:
                raise StatusError(
                    Status.UNIMPLEMENTED, "compressed messages are not accepted: send identity"
                )
            if size > self._limit:
                raise StatusError(
                    Status.RESOURCE_EXHAUSTED,
                    f"message of {size} bytes refused: at most {self._limit} are accepted",
                )
            end = position + _PREFIX.size + size
            if end > len(buffer):
                break
            messages.append(buffer[position + _PREFIX.size : end])
            position = end
        self._buffer = buffer[position:]
        return messages
