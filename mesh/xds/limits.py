"""What one xDS client may cost."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds per client, in bytes and seconds."""

    handshake_timeout: float = 10.0
    """From accept to the end of the TLS handshake, time in the queue included."""
    max_handshakes: int = 4096
    """Unfinished handshakes (of all clients); one more is turned away and tries again."""
    max_streams: int = 4
    """Calls at a time on one connection."""
    max_message: int = 4 << 20
    """The largest request."""
    max_buffered: int = 16 << 20
    """Bytes that wait for a client; one that lets more pile up is dropped."""
    stall_timeout: float = 30.0
    """A client that takes nothing of what waits for it for so long is dropped."""
    ping_interval: float = 30.0
    """A client silent for so long is pinged."""
    ping_timeout: float = 20.0
    """A client that leaves a ping unanswered for so long is dropped."""
    expiry_grace: float = 60.0
    """How long after its certificate's end a client is asked to come back with another."""
