"""Which registry an agent tells, by its settings; and taking an instance out without an agent.

The latter (``python -m mesh.agent --settings FILE --deregister``) is for an instance whose agent
ended without doing so itself: killed, or by a power cut.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from mesh.agent import ports
from mesh.agent.binding import bound
from mesh.agent.consul import ConsulAgent
from mesh.agent.enrolment import Enrolment
from mesh.agent.errors import AgentError
from mesh.agent.registration import ConsulRegistrar, NoRegistrar, Registrar, ZoneRegistrar
from mesh.agent.settings import AgentSettings
from mesh.agent.state import StateDir
from mesh.agent.zone import ZoneClient
from mesh.aio.clock import Clock, SystemClock


def registrar(settings: AgentSettings, zone: ZoneClient, enrolment: Enrolment) -> Registrar:
    """Return the way to be registered that ``settings`` name."""
    inbound = settings.inbound
    if settings.register == "none" or inbound is None:
        return NoRegistrar()
    if settings.register == "consul":
        return ConsulRegistrar(settings, inbound, address(settings), ConsulAgent(settings.consul))
    return ZoneRegistrar(settings, inbound, address(settings), zone, enrolment)


def address(settings: AgentSettings) -> Callable[[], str]:
    """Return what tells where callers find this host: as configured, else as the zone sees it."""

    def find() -> str:
        if settings.advertise_address is not None:
            return settings.advertise_address
        try:
            return ports.own_address_towards(*settings.zone_api[0])
        except OSError as error:
            raise AgentError(
                f"cannot tell which address of this host callers should use: {error}",
                "Say it with --advertise-address.",
            ) from error

    return find


async def deregister(settings: AgentSettings, clock: Clock | None = None) -> None:
    """Take the instance out of its registry; one that is not there is fine.

    Raises:
        AgentError: the state is another machine's, an agent runs on it, or the registry refuses.

    """
    state = StateDir(Path(settings.state_dir))
    try:
        with state.lock():
            settings = bound(settings, state)
            zone = ZoneClient(settings.zone_api)
            enrolment = Enrolment(settings, state, zone, clock or SystemClock())
            enrolment.load()
            await registrar(settings, zone, enrolment).deregister()
    finally:
        state.close()
