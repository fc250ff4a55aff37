"""Where a proxy listens for what the kernel redirects to it on its own host."""

from __future__ import annotations

import socket
from typing import Any, Final

from mesh.config.types import HostPort

_IPV4: Final = "127.0.0.1"
_IPV6: Final = "::1"


def place(given: HostPort | None) -> dict[str, Any] | None:
    """Return the JSON object that :class:`mesh.model.proxies.Capture` is made of, None for none.

    What is redirected arrives at the loopback address of its own family: IPv6's is added to IPv4's
    on a host that has it.
    """
    if given is None:
        return None
    also = {"also": _IPV6} if given.host == _IPV4 and _has_ipv6() else {}
    return {"address": given.host, "port": given.port, **also}


def _has_ipv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as probe:
            probe.bind((_IPV6, 0))
    except OSError:
        # A host without IPv6 redirects nothing there.
        return False
    return True
