"""What a proxy on this host says of itself: its page ``/status``, on loopback."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from typing import Any

from mesh.agent import http
from mesh.vm.layout import MOST_SERVICES, Ports

_TIMEOUT = 3.0


def ask(port: int) -> Mapping[str, Any] | None:
    """Return what the proxy whose readiness port is ``port`` says; None if nobody answers."""
    return asyncio.run(_ask(port))


def by_service(ports: Iterable[int] = ()) -> dict[str, Mapping[str, Any]]:
    """Ask at ``ports``, or wherever a proxy of ``mesh vm`` may be; return answers by service."""
    asked = tuple(ports) or tuple(Ports(each).listen for each in range(MOST_SERVICES))
    return asyncio.run(_by_service(asked))


async def _by_service(ports: Iterable[int]) -> dict[str, Mapping[str, Any]]:
    found = await asyncio.gather(*(_ask(each) for each in ports))
    return {str(each["service"]): each for each in found if each is not None}


async def _ask(port: int) -> Mapping[str, Any] | None:
    server = http.Server("127.0.0.1", port)
    try:
        answer = await http.request(server, "GET", "/status", timeout=_TIMEOUT)
        said = answer.json() if answer.ok else None
    except http.RequestError:
        return None
    # Another program may have the port.
    return said if isinstance(said, dict) and "service" in said else None
