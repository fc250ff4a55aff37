"""An API server on loopback and what its callers need: keys, requests, contexts."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import aiohttp
from aiohttp import web
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from mesh.aio.clock import SystemClock
from mesh.ca import tls
from mesh.ca.issuer import Credentials, Issuer
from mesh.clients.consul import ConsulClient
from mesh.config.envoy_binary import installed
from mesh.controlplane.api.app import ApiParts, api_app
from mesh.controlplane.api.model import ExplainQuery, Problem, ServiceSummary, StatusAnswer
from mesh.controlplane.bindings import Bindings
from mesh.controlplane.dryrun.forecast import Proxy
from mesh.controlplane.dryrun.runs import DryRuns
from mesh.controlplane.enrolment import Enrolment
from mesh.controlplane.metrics import Metrics
from mesh.controlplane.peering.office import PeeringOffice
from mesh.controlplane.peering.tls import PeeringTls
from mesh.controlplane.rate_limit import Rate, RateLimiter
from mesh.controlplane.registrations import Registrations
from mesh.controlplane.tls import ZoneTls
from mesh.controlplane.tokens import TokenOffice
from mesh.controlplane.trust import Trust
from mesh.envoy.resource import Snapshot
from mesh.model.identity import WorkloadId, ZoneId
from mesh.world.snapshot import World
from mesh.xds.status import ProxyStatus

ADMIN_TOKEN = "an-admin-token-for-tests-only"
PLENTY = Rate(1000, 1000)


class StillView:
    """A zone in which nothing happens; ``status_error`` is raised where it is set.

    Dry runs are about ``world`` and the proxies ``parties``.
    """

    status_error: Exception | None = None
    world = World("dc1", "mesh.test")
    parties: Sequence[Proxy] = ()

    def proxies(self) -> Sequence[ProxyStatus]:
        """Answer: Nobody is connected."""
        return ()

    def snapshot(self, session: int) -> Snapshot | None:  # noqa: ARG002 - the protocol names it
        """Answer: nobody has anything."""
        return None

    def services(self) -> Sequence[ServiceSummary]:
        """Answer: One service."""
        return [ServiceSummary(name="web", protocol="http", instances=2, healthy=1, proxies=1)]

    def explain(self, query: ExplainQuery) -> Mapping[str, Any]:
        """Answer: Repeat the question."""
        return query.model_dump()

    def problems(self) -> Sequence[Problem]:
        """Answer: Nothing is wrong."""
        return ()

    def status(self) -> StatusAnswer:
        """Answer: All is well, or ``status_error``."""
        if self.status_error is not None:
            raise self.status_error
        return StatusAnswer(
            zone="dc1",
            trust_domain="mesh.test",
            version="0",
            instance="test",
            leader=False,
            ready=True,
            proxies=0,
            services=0,
            consul="http://127.0.0.1:8500",
            ca_mode="builtin",
            time=datetime(2025, 1, 1, tzinfo=UTC),
        )


@dataclass
class ApiServer:
    """A running API."""

    port: int
    parts: ApiParts
    zone_tls: ZoneTls
    view: StillView = field(default_factory=StillView)

    async def call(
        self,
        method: str,
        path: str,
        *,
        json: object = None,
        admin: str = "",
        credentials: Credentials | None = None,
        headers: Mapping[str, str] | None = None,
        data: bytes | None = None,
    ) -> Reply:
        """Send one request over a connection of its own."""
        bundle = self.parts.trust.bundle()
        context = tls.client_context(bundle, credentials)
        sent = dict(headers or {})
        if admin:
            sent["Authorization"] = f"Bearer {admin}"
        async with (
            aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=context)) as session,
            session.request(
                method,
                f"https://127.0.0.1:{self.port}{path}",
                json=json,
                data=data,
                headers=sent,
                server_hostname=self.parts.zone.server_name,
            ) as response,
        ):
            body = await response.json()
            return Reply(response.status, body, response.headers)

    async def mint(self, **fields: object) -> str:
        """Make a join token and return it."""
        reply = await self.call("POST", "/v1/tokens", json=fields, admin=ADMIN_TOKEN)
        assert reply.status == 201, reply.body
        return str(reply.body["token"])

    async def enrol(self, host: Host, token: str, *, kind: str = "join-token") -> Reply:
        """Enrol ``host`` and keep its certificate."""
        body = {
            "csr": host.csr(),
            "service": host.service,
            "proof": {"kind": kind, "token": token},
        }
        reply = await self.call("POST", "/v1/enrol", json=body)
        if reply.status == 200:
            host.take(reply.body)
        return reply


@dataclass
class Reply:
    """An answer of the API."""

    status: int
    body: dict[str, Any]
    headers: Mapping[str, str]


class Host:
    """A host with a key of its own, that wants to be a service."""

    def __init__(self, service: str, zone: str = "dc1") -> None:
        """Make the key."""
        self.service = service
        self.identity = WorkloadId("mesh.test", zone, service)
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.credentials: Credentials | None = None

    def csr(self, *uris: str, key: Any = None) -> str:
        """Ask for ``uris``, by default the host's own identity alone."""
        names = [x509.UniformResourceIdentifier(uri) for uri in uris or (self.identity.uri,)]
        return (
            x509.CertificateSigningRequestBuilder()
            .subject_name(x509.Name([]))
            .add_extension(x509.SubjectAlternativeName(names), critical=True)
            .sign(key or self.key, hashes.SHA256())
            .public_bytes(serialization.Encoding.PEM)
            .decode()
        )

    def take(self, answer: Mapping[str, Any]) -> None:
        """Use the certificate of ``answer`` from now on."""
        leaf = x509.load_pem_x509_certificate(answer["certificate_chain"].encode())
        self.credentials = Credentials(
            answer["certificate_chain"],
            self.key,
            answer["serial"],
            leaf.not_valid_before_utc,
            leaf.not_valid_after_utc,
        )


@asynccontextmanager
async def listening(
    app: web.Application, context: ssl.SSLContext | None = None
) -> AsyncIterator[int]:
    """Serve ``app`` on a free port of loopback and yield the port."""
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context).start()
        port: int = runner.addresses[0][1]
        yield port
    finally:
        await runner.cleanup()


@asynccontextmanager
async def api_server(
    zone: ZoneId, issuer: Issuer, consul: ConsulClient, *, per_source: Rate | None = None
) -> AsyncIterator[ApiServer]:
    """Run the API of one instance of a zone on a free port."""
    metrics, view = Metrics(), StillView()
    zone_tls = ZoneTls(issuer, require_client=False)
    peering = PeeringTls(zone, zone_tls, lambda: view.world.peers)
    limiter = RateLimiter(PLENTY, per_source or PLENTY, 0.0)
    trust = Trust(issuer, lambda: World(zone.zone, zone.trust_domain))
    parts = ApiParts(
        zone=zone,
        trust=trust,
        enrolment=Enrolment(zone, issuer, trust, consul, limiter=limiter, metrics=metrics),
        registrations=Registrations(consul, zone.zone),
        tokens=TokenOffice(zone, issuer, Bindings(consul), timedelta(days=30)),
        view=view,
        dry_runs=DryRuns(lambda: view.world, lambda: view.parties, installed),
        metrics=metrics,
        xds=lambda: ["127.0.0.1:5679"],
        admin_token=ADMIN_TOKEN,
        office=PeeringOffice(zone, issuer, consul, lambda: view.world, SystemClock()),
        peering=peering,
    )
    context: ssl.SSLContext = await zone_tls.start()
    context.sni_callback = peering.move
    async with listening(api_app(parts), context) as port:
        yield ApiServer(port, parts, zone_tls, view)
