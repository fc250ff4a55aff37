"""``mesh zone``: one instance of a zone's control plane, from settings to shutdown.

Order of start: registry (if embedded), Consul, issuer, then the watches until everything is
known, and only then the ports.  A proxy that finds the zone finds it ready.  Order of end: the
API and xDS stop taking calls, leadership and sessions are handed back, the issuer forgets its
keys.  Everything the zone knows is in Consul and Vault; another instance goes on.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Final, NoReturn

from mesh.aio import logs
from mesh.aio.clock import Clock, SystemClock
from mesh.aio.health import health_app
from mesh.aio.notify import Notifier
from mesh.aio.tasks import Tasks
from mesh.ca.issuer import Issuer
from mesh.clients.consul import ConsulClient
from mesh.config import service_manager
from mesh.config.envoy_binary import installed
from mesh.config.service_manager import ServiceManager
from mesh.config.zone import ZoneSettings
from mesh.controlplane import registry, token_file
from mesh.controlplane.api.app import ApiParts, api_app
from mesh.controlplane.bindings import Bindings
from mesh.controlplane.dryrun.runs import DryRuns
from mesh.controlplane.duties import duties
from mesh.controlplane.enrolment import Enrolment, EnrolmentPolicy
from mesh.controlplane.federation.following import Following
from mesh.controlplane.federation.mirroring import Mirror
from mesh.controlplane.federation.publishing import Publisher
from mesh.controlplane.hub import Hub
from mesh.controlplane.issuing import issuer_for, keep_bundle
from mesh.controlplane.leader import Leader
from mesh.controlplane.listening import listen
from mesh.controlplane.metrics import Metrics, PushMetrics, XdsMetrics
from mesh.controlplane.peering.following import Peers
from mesh.controlplane.peering.office import PeeringOffice
from mesh.controlplane.peering.tls import PeeringTls
from mesh.controlplane.rate_limit import Rate, RateLimiter
from mesh.controlplane.reaper import Reaper
from mesh.controlplane.registrations import Registrations
from mesh.controlplane.rollouts.measuring import Measuring
from mesh.controlplane.rollouts.store import RolloutStore
from mesh.controlplane.tls import ZoneTls
from mesh.controlplane.tokens import TokenOffice
from mesh.controlplane.trust import Trust
from mesh.controlplane.view import View
from mesh.model.identity import ZoneId
from mesh.model.traffic import WHOLE
from mesh.sources.consul.problems import Problems
from mesh.sources.consul.settings import WatchSettings
from mesh.sources.consul.watch import ConsulSource
from mesh.world.snapshot import World
from mesh.xds.collector import tune_gc
from mesh.xds.server import XdsServer

_GRACE: Final = 2.0
"""Seconds that proxies get to leave when the zone ends."""
_AGE_EVERY: Final = 5.0

logger = logging.getLogger(__name__)


def run(settings: ZoneSettings) -> None:
    """Run until SIGTERM or SIGINT.

    Raises:
        ConsulError: Consul does not answer, or refuses.
        IssuerError: no certificate can be signed.
        ListenError: a port is taken.

    """
    to_journal = service_manager.is_journal()
    logs.configure(settings.log.level, settings.log.format, to_journal=to_journal)
    asyncio.run(_until_signal(settings, service_manager.take()))


async def _until_signal(settings: ZoneSettings, manager: ServiceManager) -> None:
    ended, clock = asyncio.Event(), SystemClock()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, ended.set)
    notifier = Notifier(clock, manager.address, manager.watchdog)
    # Tasks end first: leadership is handed back while Consul can still be spoken to.
    async with AsyncExitStack() as stack, notifier.told("zone"), Tasks("zone") as tasks:
        notifier.status("waits for Consul and the issuer")
        core = await _start(settings, tasks, stack, clock, ended)
        tune_gc()
        if core is not None:
            notifier.ready()
            tasks.spawn("report", notifier.follow(lambda: _in_words(core), _AGE_EVERY))
        await ended.wait()
        notifier.stopping()
        logger.info("zone ends")


async def _start(
    settings: ZoneSettings,
    tasks: Tasks,
    stack: AsyncExitStack,
    clock: Clock,
    ended: asyncio.Event,
) -> _Core | None:
    """Start everything; None if ``ended`` left no time for it.  ``stack`` undoes it in reverse."""
    settings.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    consul = await registry.client_for(settings, stack, clock)
    zone = ZoneId(settings.trust_domain, await registry.zone_name(settings, consul))
    issuer = issuer_for(settings, zone, clock)
    stack.push_async_callback(issuer.close)
    await issuer.start()
    tasks.spawn("keep the bundle", keep_bundle(issuer, settings.bundle_file, clock), forever=True)
    api_tls = ZoneTls(issuer, require_client=False, clock=clock)
    xds_tls = ZoneTls(issuer, require_client=True, clock=clock)
    api_context = await api_tls.start()
    await xds_tls.start()
    for tls in (api_tls, xds_tls):
        tasks.spawn("keep the certificate fresh", tls.keep_fresh(), forever=True)
    core = _core(settings, zone=zone, consul=consul, issuer=issuer, tls=xds_tls, clock=clock)
    tasks.spawn("watch Consul", core.source.run(), forever=True)
    tasks.spawn("measure rollouts", core.measuring.run(), forever=True)
    tasks.spawn("age of knowledge", _age(core, clock), forever=True)
    peering = PeeringTls(zone, api_tls, lambda: core.view.world().peers)
    api_context.sni_callback = peering.move
    parts = _api_parts(settings, core, issuer, consul, clock, peering=peering)
    health = health_app(core.metrics, core.view.readiness)
    await listen(stack, "metrics", health, settings.listen.metrics)
    # Consul may keep the zone waiting for as long as it is away; a signal must not wait with it.
    known = tasks.spawn("wait for Consul", core.source.ready.wait())
    stopped = tasks.spawn("wait for a signal", ended.wait())
    await asyncio.wait({known, stopped}, return_when=asyncio.FIRST_COMPLETED)
    if ended.is_set():
        return None
    place = settings.listen.xds
    await core.xds.start(place.host, place.port)
    stack.push_async_callback(core.xds.close, _GRACE)
    await listen(stack, "api", api_app(parts), settings.listen.api, api_context)
    tasks.spawn("leadership", core.leader.run(), forever=True)
    logger.info(
        "zone is ready",
        extra={
            "zone": zone.zone,
            "trust_domain": zone.trust_domain,
            "api": str(settings.advertised_api),
            "ca": settings.ca.mode,
            "fingerprint": issuer.bundle().fingerprint,
        },
    )
    return core


@dataclass(frozen=True, slots=True)
class _Core:
    """News in, pushes out, and who looks after the zone."""

    metrics: Metrics
    source: ConsulSource
    xds: XdsServer
    view: View
    leader: Leader
    measuring: Measuring


def _core(
    settings: ZoneSettings,
    *,
    zone: ZoneId,
    consul: ConsulClient,
    issuer: Issuer,
    tls: ZoneTls,
    clock: Clock,
) -> _Core:
    """Wire the source to the hub and the hub to xDS."""
    metrics, found = Metrics(), Problems()
    world = World(zone.zone, zone.trust_domain, api=str(settings.advertised_api))
    hub = Hub(world, PushMetrics(metrics))
    xds = XdsServer(
        hub,
        tls.current,
        trust_domain=zone.trust_domain,
        zone=zone.zone,
        observer=XdsMetrics(metrics),
        clock=clock,
    )
    watches = WatchSettings(max_watches=registry.max_watches(settings))
    source = ConsulSource(consul, hub.emit, found, clock, watches)
    hub.attach(publish=xds.publish, need=source.need)
    instance = f"{socket.gethostname()}-{os.getpid()}"
    view = View(zone, instance, consul.address.url, hub, xds, source, found, issuer, clock)

    def lead(leading: bool) -> None:  # noqa: FBT001 - the shape that the leader calls
        view.leading = leading
        metrics.leader.set(int(leading))

    work = duties(
        zone=zone,
        consul=consul,
        hub=hub,
        reaper=Reaper(consul, zone.zone, reattest_for=settings.enrolment.reattest_for),
        publisher=Publisher(consul, hub, issuer, lambda: _addresses(settings), clock),
        following=Following(consul, zone.zone, clock),
        mirror=Mirror(consul, zone.zone, clock),
        peers=Peers(consul, zone, issuer, clock),
        clock=clock,
    )
    leader = Leader(consul, instance, work, on_change=lead, clock=clock)
    measuring = Measuring(hub, xds.connected, RolloutStore(consul), instance, clock)
    return _Core(metrics, source, xds, view, leader, measuring)


def _api_parts(
    settings: ZoneSettings,
    core: _Core,
    issuer: Issuer,
    consul: ConsulClient,
    clock: Clock,
    *,
    peering: PeeringTls,
) -> ApiParts:
    zone, enrolment = core.view.zone, settings.enrolment
    trust = Trust(issuer, core.view.world)
    limiter = RateLimiter(
        Rate(enrolment.rate, enrolment.burst),
        Rate(enrolment.per_address.rate, enrolment.per_address.burst),
        clock.monotonic(),
    )
    policy = EnrolmentPolicy(settings.ca.leaf_ttl, enrolment.reattest_for)
    return ApiParts(
        zone=zone,
        trust=trust,
        enrolment=Enrolment(
            zone,
            issuer,
            trust,
            consul,
            limiter=limiter,
            metrics=core.metrics,
            policy=policy,
            clock=clock,
        ),
        registrations=Registrations(consul, zone.zone),
        tokens=TokenOffice(zone, issuer, Bindings(consul), enrolment.max_token_ttl, clock=clock),
        view=core.view,
        dry_runs=DryRuns(core.view.world, core.view.parties, installed),
        metrics=core.metrics,
        xds=lambda: _addresses(settings)["xds"],
        admin_token=token_file.read_or_make(settings.admin_token_file),
        office=PeeringOffice(zone, issuer, consul, core.view.world, clock),
        peering=peering,
    )


async def _age(core: _Core, clock: Clock) -> NoReturn:
    """Show how old the knowledge of each watch is, and how far each rollout has come."""
    metrics = core.metrics
    while True:
        now = clock.now()
        for status in core.source.status():
            if status.last_success is not None:
                age = (now - status.last_success).total_seconds()
                metrics.knowledge_age.labels(source=status.name).set(age)
        metrics.rollout_weight.clear()
        for rollout in core.view.hub.world.rollouts.values():
            metrics.rollout_weight.labels(rollout=rollout.name).set(rollout.weight * 100 / WHOLE)
        await clock.sleep(_AGE_EVERY)


def _in_words(core: _Core) -> str:
    """Return how this instance is, as the operator reads it in ``systemctl status``."""
    view, reasons = core.view, core.view.readiness()
    return "; ".join(
        [
            f"not ready: {', '.join(reasons)}" if reasons else "ready",
            f"zone {view.zone.zone}{', leads' if view.leading else ''}",
            f"proxies connected: {len(core.xds.connected())}",
        ]
    )


def _addresses(settings: ZoneSettings) -> dict[str, list[str]]:
    return {
        "api": [str(settings.advertised_api)],
        "xds": [str(place) for place in settings.advertised_xds],
    }
