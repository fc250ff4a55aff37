"""The agent from start to stop: wires the parts, waits for SIGTERM, drains.

If a part fails unexpectedly the agent ends and Envoy does not: the service manager starts the
agent again, which takes Envoy over.  Only a stop that was asked for ends Envoy.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from mesh.agent import ports, readiness, web
from mesh.agent.binding import bound
from mesh.agent.certificates import Certificates, serve
from mesh.agent.drain import Drain
from mesh.agent.enrolment import Enrolment
from mesh.agent.envoy_process import find_envoy
from mesh.agent.errors import AgentError, PortTakenError
from mesh.agent.identity import Svid
from mesh.agent.measurements import Measurements
from mesh.agent.recorder import Recorder
from mesh.agent.registrars import registrar
from mesh.agent.registration import Registration
from mesh.agent.reporting import Reporter
from mesh.agent.settings import AgentSettings
from mesh.agent.state import StateDir
from mesh.agent.status import Connection, StatusPage
from mesh.agent.stopping import Stop
from mesh.agent.supervisor import Supervisor
from mesh.agent.validation import refusal
from mesh.agent.zone import ZoneClient
from mesh.aio.clock import Clock, SystemClock
from mesh.aio.notify import Notifier
from mesh.aio.tasks import Tasks
from mesh.config.service_manager import ServiceManager
from mesh.envoy import bootstrap
from mesh.model import hostport
from mesh.model.proxies import ProxyNeed, Role

logger = logging.getLogger(__name__)

_ANSWER_SECONDS: Final = 1.0
_POLL: Final = 0.05
_PORT_PATIENCE: Final = 2.0


class Agent:
    """One proxy's agent.  :meth:`stop` once to drain, twice to hurry."""

    def __init__(
        self,
        settings: AgentSettings,
        state: StateDir,
        clock: Clock,
        manager: ServiceManager | None = None,
    ) -> None:
        """Check what can be checked before anything is started; ``manager`` is told how it goes.

        Raises:
            AgentError: the settings ask for something that this host does not have.

        """
        self._settings = settings
        self._state = state
        self._clock = clock
        self._binary = find_envoy(settings.envoy)
        self._zone = ZoneClient(settings.zone_api)
        self._enrolment = Enrolment(settings, state, self._zone, clock)
        self._status = readiness.Status()
        self._pages = readiness.Readiness(self._status, clock, settings)
        told = manager or ServiceManager()
        self._notifier = Notifier(clock, told.address, told.watchdog)
        self._reporter = Reporter(self._notifier, self._status, self._pages, self._enrolment)
        self._connection = Connection(self._status, clock)
        self._stop = asyncio.Event()
        self._leaving = False
        self._drain: Drain | None = None

    def stop(self) -> None:
        """Begin the graceful stop; called again, finish it at once."""
        if self._stop.is_set() and self._drain is not None:
            self._drain.hurry()
        # There will be no next agent to leave Envoy to.
        self._leaving = False
        self._stop.set()
        self._reporter.stopping()

    def leave(self) -> None:
        """End this agent and no more: Envoy goes on, and stays registered, for the next agent.

        Not once the proxy was asked to stop: that stands.
        """
        if self._stop.is_set():
            return
        logger.info("leaving envoy to the next agent")
        self._leaving = True
        self._stop.set()

    def renew(self) -> None:
        """Get a new certificate now.  Envoy stays as it is and takes the new one up."""
        logger.info("renewal was asked for")
        self._reporter.renewing()
        self._enrolment.renew_now()

    async def run(self) -> None:
        """Run until stopped.

        Raises:
            AgentError: the proxy cannot come up.
            TaskFailedError: a part failed.

        """
        told = StatusPage(self._settings, self._state, self._status, self._pages, self._connection)
        asked = {"/measurements": Measurements(lambda: self._status.admin).page}
        answered = {**self._pages.pages(), "/status": told.page}
        server = await web.serve(self._settings.listen, answered, asked)
        try:
            async with self._notifier.told("agent") as tasks:
                if self._notifier:
                    tasks.spawn("report", self._reporter.run(self._clock), forever=True)
                svid = await self._enrolled()
                if svid is not None:
                    await self._serve(svid)
        finally:
            server.close()

    async def _enrolled(self) -> Svid | None:
        """Return the identity, or None if the stop came first."""
        async with Tasks("enrolment") as tasks:
            enrolment = tasks.spawn("enrol", _outcome(self._enrolment))
            stop = tasks.spawn("stop", self._stop.wait())
            await asyncio.wait({enrolment, stop}, return_when=asyncio.FIRST_COMPLETED)
            if not enrolment.done():
                return None
            outcome = enrolment.result()
        if isinstance(outcome, AgentError):
            raise outcome
        return outcome

    async def _serve(self, svid: Svid) -> None:
        proxy = self._proxy(svid)
        supervisor = Supervisor(
            self._settings,
            self._state,
            self._binary,
            bootstrap.live(proxy),
            self._clock,
            zone_answers=self._zone_answers,
        )
        if not await supervisor.adopt():
            await self._claim_ports(proxy.need)
        self._status.supervisor, self._status.svid = supervisor, svid
        registration = Registration(
            registrar(self._settings, self._zone, self._enrolment), self._clock
        )
        self._status.registration = registration
        async with Tasks("agent") as tasks:
            tasks.spawn("keep the certificate valid", self._enrolment.keep_valid(), forever=True)
            tasks.spawn("follow the trust bundle", self._enrolment.keep_bundle(), forever=True)
            if self._settings.role is Role.EDGE:
                clients = Certificates(self._settings, self._state, self._clock)
                self._status.certificates = clients
                tasks.spawn("keep clients' certificates", serve(clients, self._state), forever=True)
            tasks.spawn("spread the news", self._follow_svid(supervisor), forever=True)
            tasks.spawn("watch the connection", self._connection.run(), forever=True)
            supervision = tasks.spawn("supervise envoy", supervisor.run(), forever=True)
            recorder = Recorder(proxy, self._state, self._clock, self._refusal)
            recording = tasks.spawn("record", recorder.run(supervisor), forever=True)
            registering = tasks.spawn(
                "register", self._register_when_serving(supervisor, registration), forever=True
            )
            await self._stop.wait()
            for task in (registering, recording, supervision):
                task.cancel()
            await asyncio.wait({registering, recording, supervision})
            if self._leaving:
                return
            stop = Stop(self._settings, self._status, supervisor, registration, self._clock)
            self._drain = stop.drain()
            await self._drain.run(self._settings.drain_seconds)
            logger.info("stopped")

    async def _claim_ports(self, need: ProxyNeed) -> None:
        """Check that the ports are free; an Envoy that died just now may hold them a little."""
        until = self._clock.monotonic() + _PORT_PATIENCE
        while True:
            try:
                ports.check_free(need)
            except PortTakenError:
                if self._clock.monotonic() >= until:
                    raise
                await self._clock.sleep(_POLL)
            else:
                return

    def _proxy(self, svid: Svid) -> bootstrap.Proxy:
        return bootstrap.Proxy(
            id=self._settings.id,
            zone=svid.zone_id,
            need=self._settings.need(svid.zone),
            # In an order of our own: the same servers named in another are no change.
            xds=tuple(sorted(hostport.split(each) for each in svid.xds)),
            # Each Envoy gets its own when it is started.
            admin_socket="envoy.sock",
        )

    async def _zone_answers(self) -> bool:
        try:
            async with asyncio.timeout(_ANSWER_SECONDS):
                await self._enrolment.refresh_bundle(patience=_ANSWER_SECONDS)
                svid = self._enrolment.svid
                return svid is not None and await _any_accepts(svid.xds)
        except (AgentError, OSError) as error:
            logger.info("the zone does not answer", extra={"reason": str(error)})
            return False

    async def _refusal(self, file: str) -> str:
        return await refusal(self._binary, file, self._state)

    async def _follow_svid(self, supervisor: Supervisor) -> None:
        """Tell the others of a new certificate, and of the zone's addresses that came with it."""
        while True:
            svid = self._enrolment.svid
            if svid is not None and svid is not self._status.svid:
                self._status.svid = svid
                supervisor.follow(bootstrap.live(self._proxy(svid)))
            await self._clock.sleep(1.0)

    async def _register_when_serving(
        self, supervisor: Supervisor, registration: Registration
    ) -> None:
        while supervisor.serving is None:
            await self._clock.sleep(_POLL)
        await registration.run()


async def _any_accepts(addresses: Iterable[str]) -> bool:
    for address in addresses:
        try:
            _, writer = await asyncio.open_connection(*hostport.split(address))
        except OSError:
            continue
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()
        return True
    return False


async def _outcome(enrolment: Enrolment) -> Svid | AgentError:
    # A refusal is the operator's to read, not a failed task's traceback.
    try:
        return await enrolment.ensure()
    except AgentError as error:
        return error


async def run(settings: AgentSettings, *, manager: ServiceManager | None = None) -> None:
    """Run one agent until SIGTERM or SIGINT; SIGHUP renews the certificate.

    On SIGUSR2 it ends alone and leaves Envoy to the next agent, as for an upgrade.  ``manager``
    is told how it goes.

    Raises:
        AgentError: with what an operator should do.

    """
    state = StateDir(Path(settings.state_dir))
    try:
        with state.lock():
            agent = Agent(bound(settings, state), state, SystemClock(), manager)
            loop = asyncio.get_running_loop()
            for number in (signal.SIGTERM, signal.SIGINT):
                loop.add_signal_handler(number, agent.stop)
            loop.add_signal_handler(signal.SIGHUP, agent.renew)
            loop.add_signal_handler(signal.SIGUSR2, agent.leave)
            await agent.run()
    finally:
        state.close()
