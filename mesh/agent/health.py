"""Is the application well?  The same checks that Consul would make."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass
from typing import Final

from mesh.agent import http
from mesh.agent.settings import HealthCheck
from mesh.model.proxies import Inbound

_TIMEOUT: Final = 2.0
_TOO_MANY_REQUESTS: Final = 429


@dataclass(frozen=True, slots=True)
class Status:
    """Consul's word for a state of health, and the reason if it is not ``passing``."""

    health: str
    output: str = ""


PASSING: Final = Status("passing")


async def probe(check: HealthCheck, inbound: Inbound) -> Status:
    """Look once."""
    if check.kind == "none":
        return PASSING
    place = f"{inbound.local_address}:{inbound.local_port}"
    if check.kind == "http":
        server = http.Server(inbound.local_address, inbound.local_port)
        try:
            answer = await http.request(server, "GET", check.path, timeout=_TIMEOUT)
        except http.RequestError as error:
            return Status("critical", f"http://{place}{check.path}: {error}")
        if answer.ok:
            return PASSING
        # As Consul has it: busy is a warning, everything else is an outage.
        word = "warning" if answer.status == _TOO_MANY_REQUESTS else "critical"
        return Status(word, f"http://{place}{check.path}: HTTP {answer.status}")
    try:
        async with asyncio.timeout(_TIMEOUT):
            _, writer = await asyncio.open_connection(inbound.local_address, inbound.local_port)
    except OSError as error:
        return Status("critical", f"{place}: {error or type(error).__name__}")
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()
    return PASSING
