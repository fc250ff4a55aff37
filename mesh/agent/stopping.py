"""The graceful stop of one proxy: what each action of :mod:`mesh.agent.drain` is, here."""

from __future__ import annotations

from typing import Final

from mesh.agent.admin import Admin
from mesh.agent.drain import Action, Drain
from mesh.agent.http import RequestError
from mesh.agent.readiness import Status
from mesh.agent.registration import Registration
from mesh.agent.settings import AgentSettings
from mesh.agent.supervisor import Supervisor
from mesh.aio.clock import Clock
from mesh.model.proxies import Role

_POLL: Final = 0.05


class Stop:
    """What is done to a proxy's parts when it ends."""

    def __init__(
        self,
        settings: AgentSettings,
        status: Status,
        supervisor: Supervisor,
        registration: Registration,
        clock: Clock,
    ) -> None:
        """Do nothing yet."""
        self._settings = settings
        self._status = status
        self._supervisor = supervisor
        self._registration = registration
        self._clock = clock

    def drain(self) -> Drain:
        """Return the stop, to be carried out or hurried."""
        actions = {
            Action.DEREGISTER: self._registration.deregister,
            Action.FAIL_READINESS: self._fail_readiness,
            Action.CLOSE_LISTENERS: self._close_listeners,
            Action.AWAIT_CONNECTIONS: self._connections_end,
            Action.QUIT: self._quit_envoy,
        }
        return Drain(actions, self._clock)

    async def _fail_readiness(self) -> None:
        self._status.draining = True
        for admin in self._answering():
            await admin.fail_health()

    async def _close_listeners(self) -> None:
        for admin in self._answering():
            await admin.close_listeners(inbound_only=True)

    async def _connections_end(self) -> None:
        while await self._inbound_connections():
            await self._clock.sleep(_POLL)

    async def _quit_envoy(self) -> None:
        for process in self._supervisor.processes:
            await process.end()

    def _answering(self) -> list[Admin]:
        return [process.admin for process in self._supervisor.processes if process.alive()]

    async def _inbound_connections(self) -> int:
        inbound = self._settings.inbound
        if inbound is None:
            return 0
        total = 0
        for process in self._supervisor.processes:
            try:
                counts = await process.admin.connections()
            except RequestError:
                continue  # it is gone, and its connections are too
            # Whatever an edge gateway listens on is for clients.
            edge = self._settings.role is Role.EDGE
            suffix = "" if edge else f"_{inbound.port}.downstream_cx_active"
            total += sum(count for name, count in counts.items() if name.endswith(suffix))
        return total
