"""Envoy's admin interface, over its Unix socket: what the agent asks of it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import quote

from mesh.agent import http

_CHANGES: Final = quote(r"(update_success|config_reload)$")
_CONNECTIONS: Final = quote(r"^listener\..*downstream_cx_active$")
_STARTED: Final = "listener_manager.workers_started"
_CONNECTED: Final = "control_plane.connected_state"
_COUNT: Final = re.compile(r"^(?P<name>.+): (?P<value>\d+)$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Condition:
    """How an Envoy is: its own word for it, and the names of the listeners that serve."""

    state: str
    listeners: frozenset[str]

    @property
    def live(self) -> bool:
        """Whether it takes calls, if anybody has told it where."""
        return self.state == "LIVE"

    @property
    def serves(self) -> bool:
        """Whether it takes calls."""
        return self.live and bool(self.listeners)

    @property
    def draining(self) -> bool:
        """Whether it was told to end with its last connection."""
        return self.state == "DRAINING"


class Admin:
    """One Envoy's admin interface.

    Every method raises :class:`mesh.agent.http.RequestError` if Envoy does not answer in time.
    """

    def __init__(self, socket: str, *, timeout: float = 2.0) -> None:
        """``socket`` is the path of the Unix socket."""
        self._server = http.Server("envoy", unix_socket=socket)
        self._timeout = timeout

    async def condition(self) -> Condition:
        """Ask whether Envoy serves."""
        # The word comes last: LIVE is what it was after the listeners were listed.
        counts = await self._counts(quote(f"^{re.escape(_STARTED)}$"))
        listed = (await self._ask("GET", "/listeners?format=json")).json()
        answer = await self._ask("GET", "/ready")
        # Before its workers run, Envoy lists what nobody accepts on yet.
        started = listed.get("listener_statuses", ()) if counts.get(_STARTED) else ()
        names = frozenset(str(each["name"]) for each in started)
        return Condition(answer.body.decode().strip(), names)

    async def changes(self) -> bytes:
        """Return a text that differs whenever Envoy accepted some configuration."""
        answer = await self._ask("GET", f"/stats?usedonly&filter={_CHANGES}")
        return answer.body

    async def connections(self) -> dict[str, int]:
        """Return how many connections each listener holds, the admin's own left out."""
        counts = await self._counts(_CONNECTIONS)
        return {
            name: count for name, count in counts.items() if not name.startswith("listener.admin.")
        }

    async def config_dump(self) -> Any:
        """Return all that Envoy runs."""
        return (await self._ask("GET", "/config_dump?include_eds", timeout=10.0)).json()

    async def prometheus(self) -> bytes:
        """Return Envoy's metrics in Prometheus' text format."""
        return (await self._ask("GET", "/stats/prometheus?usedonly")).body

    async def stats(self, pattern: str) -> Any:
        """Return the statistics that match ``pattern`` and were ever written, as JSON."""
        query = f"usedonly&format=json&histogram_buckets=detailed&filter={quote(pattern, safe='')}"
        return (await self._ask("GET", f"/stats?{query}")).json()

    async def clusters(self, pattern: str) -> Any:
        """Return what is known of the hosts of clusters whose names match ``pattern``."""
        return (
            await self._ask("GET", f"/clusters?format=json&filter={quote(pattern, safe='')}")
        ).json()

    async def connected(self) -> bool:
        """Ask whether Envoy is connected to the zone's xDS server."""
        return bool((await self._counts(quote(f"^{re.escape(_CONNECTED)}$"))).get(_CONNECTED))

    async def fail_health(self) -> None:
        """Have HTTP connections closed after the answer at hand, and health checks fail."""
        await self._ask("POST", "/healthcheck/fail")

    async def close_listeners(self, *, inbound_only: bool) -> None:
        """Accept no further connections; those that are open stay."""
        only = "?inboundonly" if inbound_only else ""
        await self._ask("POST", f"/drain_listeners{only}")

    async def quit(self) -> None:
        """End Envoy."""
        await self._ask("POST", "/quitquitquit")

    async def _counts(self, pattern: str) -> dict[str, int]:
        answer = await self._ask("GET", f"/stats?filter={pattern}")
        return {
            found["name"]: int(found["value"]) for found in _COUNT.finditer(answer.body.decode())
        }

    async def _ask(
        self,
        method: str,
        path: str,
        *,
        timeout: float | None = None,  # noqa: ASYNC109 - it bounds a worker thread
    ) -> http.Response:
        return await http.request(self._server, method, path, timeout=timeout or self._timeout)
