"""One try of a TCP or HTTP health check, and what it says of the service."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from http import HTTPStatus

import aiohttp
from yarl import URL

from mesh.embedded.records import CheckPlan

_OUTPUT_BYTES = 4096
_OK = range(200, 300)


@dataclass(frozen=True, slots=True)
class Finding:
    """A status and the words that explain it."""

    status: str
    output: str


async def tcp(plan: CheckPlan) -> Finding:
    """Passing if the target accepts a connection."""
    try:
        # Parsed as a URL, so that an IPv6 literal keeps its brackets to itself.
        url = URL(f"tcp://{plan.target}")
        async with asyncio.timeout(plan.timeout):
            _, writer = await asyncio.open_connection(url.host, url.port)
    except (OSError, ValueError, TimeoutError) as error:
        return Finding("critical", f"dial tcp {plan.target}: {error or 'timed out'}")
    writer.close()
    return Finding("passing", f"TCP connect {plan.target}: Success")


async def http(plan: CheckPlan, session: aiohttp.ClientSession) -> Finding:
    """Passing on a 2xx, warning on 429, critical otherwise."""
    headers = [(name, value) for name, values in plan.header.items() for value in values]
    try:
        async with session.request(
            plan.method,
            plan.target,
            headers=headers,
            data=plan.body or None,
            ssl=not plan.skip_tls_verify,
            timeout=aiohttp.ClientTimeout(plan.timeout),
        ) as response:
            body = await response.content.read(_OUTPUT_BYTES)
    except (aiohttp.ClientError, TimeoutError, ValueError) as error:
        return Finding("critical", f'{plan.method} "{plan.target}": {error or "timed out"}')
    status = "critical"
    if response.status in _OK:
        status = "passing"
    elif response.status == HTTPStatus.TOO_MANY_REQUESTS:
        status = "warning"
    shown = body.decode("utf-8", "replace")
    line = f"{response.status} {response.reason}"
    return Finding(status, f"HTTP {plan.method} {plan.target}: {line} Output: {shown}")


class Thresholds:
    """Holds a status back until enough findings in a row agree on it."""

    def __init__(self, plan: CheckPlan) -> None:
        """Take the counts from ``plan``."""
        self._passing = plan.successes_before_passing
        self._critical = plan.failures_before_critical
        self._row: tuple[str, int] = ("", 0)

    def accept(self, finding: Finding) -> bool:
        """Whether the finding counts now."""
        kind = "critical" if finding.status == "critical" else "passing"
        self._row = (kind, self._row[1] + 1 if self._row[0] == kind else 1)
        return self._row[1] >= (self._critical if kind == "critical" else self._passing)
