"""A zone's core without its API: real world, rendering, xDS and CA, news by the test."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

from mesh.agent import keys
from mesh.agent.identity import Svid
from mesh.agent.identity_files import IdentityFiles
from mesh.agent.settings import AgentSettings
from mesh.agent.state import StateDir
from mesh.aio.clock import SystemClock
from mesh.ca.builtin import builtin_issuer
from mesh.ca.csr import check_csr
from mesh.ca.issuer import Issuer
from mesh.ca.tls import server_context
from mesh.controlplane.hub import Hub
from mesh.model.identity import WorkloadId, ZoneId
from mesh.model.intentions import Action, Intention
from mesh.model.services import Instance
from mesh.world.changes import Change, InstancesChanged, IntentionsChanged
from mesh.world.snapshot import World
from mesh.xds.server import XdsServer

ZONE = ZoneId("mesh.example", "dc1")


class Silent:
    """Whom the hub tells of its pushes."""

    def pushed(self, *, sessions: int, seconds: float, waited: float) -> None:
        """Do nothing."""


class RealZone:
    """What a test does with the zone."""

    def __init__(self, issuer: Issuer, hub: Hub) -> None:
        """Work with the zone's parts."""
        self.issuer = issuer
        self._hub = hub
        self.port = 0

    def tell(self, *changes: Change) -> None:
        """Have the zone learn something."""
        for change in changes:
            self._hub.emit(change)

    def allow(self, *pairs: tuple[str, str]) -> None:
        """Replace all intentions: each pair may call, nobody else."""
        found = tuple(Intention(source, target, Action.ALLOW) for source, target in pairs)
        self.tell(IntentionsChanged.of(found))

    def runs(self, service: str, port: int) -> None:
        """Have one instance of a service on loopback."""
        self.tell(InstancesChanged(service, (Instance(service, "node", "127.0.0.1", port),)))

    async def certify(self, service: str) -> tuple[str, str, Svid]:
        """Return certificate chain, key, and what the agent notes of them."""
        workload = WorkloadId(ZONE.trust_domain, ZONE.zone, service)
        key = keys.new_key()
        request = check_csr(keys.signing_request(key, workload.uri), workload)
        issued = await self.issuer.sign(request, timedelta(hours=1))
        now, xds = SystemClock().now(), (f"127.0.0.1:{self.port}",)
        about = Svid(
            ZONE.trust_domain, ZONE.zone, service, issued.serial, now, issued.not_after, xds
        )
        return issued.chain_pem, key, about

    async def enrol(self, settings: AgentSettings) -> None:
        """Put an identity on a proxy's disk."""
        chain, key, about = await self.certify(settings.service)
        state = StateDir(settings.state_dir)
        IdentityFiles(state).save(about, chain, key, self.issuer.bundle().pem)
        state.close()


@contextlib.asynccontextmanager
async def real_zone(directory: Path) -> AsyncIterator[RealZone]:
    """Run a zone's core with its CA in ``directory``."""
    issuer = builtin_issuer(directory, ZONE)
    await issuer.start()
    hub = Hub(World(ZONE.zone, ZONE.trust_domain), Silent())
    context = server_context(await issuer.zone_identity(), issuer.bundle(), require_client=True)
    server = XdsServer(hub, lambda: context, trust_domain=ZONE.trust_domain, zone=ZONE.zone)
    hub.attach(publish=server.publish, need=lambda _: None)
    zone = RealZone(issuer, hub)
    zone.port = await server.start("127.0.0.1", 0)
    try:
        yield zone
    finally:
        hub.close()
        await server.close(0.1)
        await issuer.close()
