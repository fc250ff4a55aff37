"""TLS as a function from bytes to bytes, at a tenth of asyncio's memory.

asyncio's own TLS holds a 256 KB read buffer and buffers that have grown with the largest
write, 300 KB and more per connection.  An ``SSLObject`` between two ``MemoryBIO`` costs 36 KB,
provided that it is fed in small pieces, because a ``MemoryBIO`` keeps the size of the largest
piece that it has held.
"""

from __future__ import annotations

import ssl
from typing import Final

PIECE: Final = 4096
"""No more than this is put into a ``MemoryBIO`` at once."""

_READ: Final = 16_384


class TlsPipe:
    """One end of a TLS connection."""

    __slots__ = ("_incoming", "_outgoing", "_tls", "closed", "established")

    def __init__(self, context: ssl.SSLContext, *, server_name: str | None = None) -> None:
        """Begin as the server, or as a client of ``server_name``."""
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._tls = context.wrap_bio(
            self._incoming,
            self._outgoing,
            server_side=server_name is None,
            server_hostname=server_name,
        )
        self.established = False
        self.closed = False

    @property
    def connection(self) -> ssl.SSLObject:
        """The connection's facts: peer certificate, protocol, cipher."""
        return self._tls

    def handshake(self) -> None:
        """Go on with the handshake; what it says is to be fetched with :meth:`outgoing`."""
        try:
            self._tls.do_handshake()
        except ssl.SSLWantReadError:
            return
        self.established = True

    def outgoing(self) -> bytes:
        """Return the ciphertext that waits to be sent."""
        return self._outgoing.read()

    def receive(self, data: bytes | memoryview) -> bytes:
        """Take ciphertext, return the plaintext that it completes.

        Raises:
            ssl.SSLError: the peer broke the protocol or is not trusted.

        """
        plain: list[bytes] = []
        view = memoryview(data)
        for start in range(0, len(view), PIECE):
            self._incoming.write(view[start : start + PIECE])
            if not self.established:
                self.handshake()
            if self.established:
                self._read(plain)
        return plain[0] if len(plain) == 1 else b"".join(plain)

    def send(self, data: bytes) -> bytes:
        """Take plaintext, return ciphertext."""
        if len(data) <= PIECE:
            self._tls.write(data)
            return self._outgoing.read()
        parts: list[bytes] = []
        view = memoryview(data)
        for start in range(0, len(view), PIECE):
            self._tls.write(view[start : start + PIECE])
            parts.append(self._outgoing.read())
        return b"".join(parts)

    def close(self) -> bytes:
        """Say goodbye; return the last ciphertext."""
        if self.established:
            try:
                self._tls.unwrap()
            except ssl.SSLError:
                # It waits for the peer's own goodbye, which nobody needs.
                self.established = False
        return self._outgoing.read()

    def _read(self, plain: list[bytes]) -> None:
        try:
            while data := self._tls.read(_READ):
                plain.append(data)
        except ssl.SSLWantReadError:
            return
        except ssl.SSLZeroReturnError:
            pass
        self.closed = True
