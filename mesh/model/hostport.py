"""``host:port``, as URLs have it: an IPv6 literal stands in brackets, as in ``[::1]:5678``."""

from __future__ import annotations

from typing import Final

MAX_PORT: Final = 65_535
"""The last port there is."""


def join(host: str, port: int) -> str:
    """Write what :func:`split` reads."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def split(text: str) -> tuple[str, int]:
    """Return the host (a name, or a literal without brackets) and the port of ``text``.

    Raises:
        ValueError: there is no host, no port from 0 to 65535, or an IPv6 literal has no brackets.

    """
    host, colon, port = text.rpartition(":")
    bracketed = host.startswith("[") and host.endswith("]")
    host = host[1:-1] if bracketed else host
    digits = port.isascii() and port.isdigit() and len(port) <= len(str(MAX_PORT))
    if not colon or not host or bracketed != (":" in host) or not digits or int(port) > MAX_PORT:
        raise ValueError(f"{text!r} is not an address: write host:port, as in 0.0.0.0:5678")
    return host, int(port)
