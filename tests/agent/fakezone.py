"""A zone's API on loopback, real TLS and real certificates, decisions by the test."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import ssl
import tempfile
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from aiohttp import web
from cryptography import x509
from cryptography.hazmat.primitives import serialization

from mesh.agent.identity import fingerprint
from mesh.aio.clock import SystemClock
from mesh.model.identity import WorkloadId, ZoneId
from tests.agent.pki import Authority, in_hours

DOMAIN = "mesh.example"
ZONE = "dc1"
TOKEN_ID = "token-of-web"
TOKEN = "consul-token-that-must-stay-secret"


@dataclass
class FakeZone:
    """What the zone knows and does."""

    authority: Authority = field(default_factory=lambda: Authority(DOMAIN))
    now: datetime = field(default_factory=SystemClock().now)
    life_hours: float = 24.0
    bundle: str = ""
    xds: list[str] = field(default_factory=lambda: ["127.0.0.1:1"])
    refusal: tuple[int, str, str] | None = None
    renew_refusal: tuple[int, str, str] | None = None
    expired: set[str] = field(default_factory=set)
    """Tokens that let nobody in any longer."""
    asked: list[str] = field(default_factory=list)
    proofs: list[dict[str, str]] = field(default_factory=list)
    keys: list[str] = field(default_factory=list)
    token_ids: list[str] = field(default_factory=list)
    registrations: dict[str, dict[str, Any]] = field(default_factory=dict)
    lease_seconds: float = 30.0
    port: int = 0

    def __post_init__(self) -> None:
        """Publish the authority's own root unless told otherwise."""
        self.bundle = self.bundle or self.authority.root

    @property
    def address(self) -> tuple[str, int]:
        """Where it listens."""
        return ("127.0.0.1", self.port)

    def join_token(self, *, pin: str | None = None) -> str:
        """Return something shaped like a join token; the signature is the zone's to check."""
        claims = {
            "iss": ZoneId(DOMAIN, ZONE).uri,
            "aud": DOMAIN,
            "svc": "web",
            "jti": TOKEN_ID,
            "ca": pin or fingerprint(self.authority.root),
        }
        parts = ({"alg": "ES256"}, claims)
        encoded = [base64.urlsafe_b64encode(json.dumps(part).encode()) for part in parts]
        return b".".join([*(each.rstrip(b"=") for each in encoded), b"c2lnbmF0dXJl"]).decode()

    @contextlib.asynccontextmanager
    async def serve(self, port: int = 0) -> AsyncIterator[FakeZone]:
        """Listen; the port stays the same when called again with it."""
        app = web.Application()
        app.router.add_get("/v1/bundle", self._bundle)
        app.router.add_post("/v1/enrol", self._enrol)
        app.router.add_post("/v1/renew", self._renew)
        app.router.add_put("/v1/registrations/{id}", self._register)
        app.router.add_delete("/v1/registrations/{id}", self._deregister)
        runner = web.AppRunner(app)
        await runner.setup()
        try:
            site = web.TCPSite(runner, "127.0.0.1", port, ssl_context=self.tls())
            await site.start()
            self.port = runner.addresses[0][1]
            yield self
        finally:
            await runner.cleanup()

    def tls(self, *, required: bool = False) -> ssl.SSLContext:
        """Return the zone's side of TLS."""
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cadata=self.authority.root)
        context.verify_mode = ssl.CERT_REQUIRED if required else ssl.CERT_OPTIONAL
        with tempfile.TemporaryDirectory() as directory:
            both = Path(directory) / "both.pem"
            both.write_text("".join(self.authority.zone(ZONE)))
            context.load_cert_chain(both)
        return context

    async def _bundle(self, request: web.Request) -> web.Response:
        self.asked.append(request.path.rpartition("/")[2])
        return web.json_response({"trust_domain": DOMAIN, "zone": ZONE, "bundle": self.bundle})

    async def _enrol(self, request: web.Request) -> web.Response:
        self.asked.append("enrol")
        if self.refusal is not None:
            return _refuse(self.refusal)
        body = await request.json()
        if body["proof"]["token"] in self.expired:
            return _refuse((403, "the join token expired, unused", "ask for a new one"))
        self.proofs.append(body["proof"])
        return self._sign(body["csr"], body["service"])

    async def _renew(self, request: web.Request) -> web.Response:
        self.asked.append("renew")
        if self.renew_refusal is not None:
            return _refuse(self.renew_refusal)
        service = _caller(request)
        body = await request.json()
        self.token_ids.append(body.pop("token_id", ""))
        assert set(body) == {"csr"}
        return self._sign(body["csr"], service)

    async def _register(self, request: web.Request) -> web.Response:
        service = _caller(request)
        body = await request.json()
        assert body["service"] == service
        self.registrations[request.match_info["id"]] = body
        return web.json_response({"lease_seconds": self.lease_seconds})

    async def _deregister(self, request: web.Request) -> web.Response:
        _caller(request)
        self.registrations.pop(request.match_info["id"], None)
        return web.Response(status=204)

    def _sign(self, csr: str, service: str) -> web.Response:
        request = x509.load_pem_x509_csr(csr.encode())
        names = request.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        (uri,) = (name.value for name in names)
        assert uri == WorkloadId(DOMAIN, ZONE, service).uri
        public = request.public_key().public_bytes(
            serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        self.keys.append(hashlib.sha256(public).hexdigest())
        validity = (in_hours(self.now, -0.1), in_hours(self.now, self.life_hours))
        chain = self.authority.certify(request.public_key(), uri=uri, validity=validity)
        return web.json_response(
            {
                "certificate_chain": chain,
                "bundle": self.bundle,
                "serial": "01",
                "not_after": validity[1].isoformat(),
                "zone": ZONE,
                "trust_domain": DOMAIN,
                "xds": self.xds,
            }
        )


def _refuse(refusal: tuple[int, str, str]) -> web.Response:
    status, error, remedy = refusal
    return web.json_response({"error": error, "remedy": remedy}, status=status)


def _caller(request: web.Request) -> str:
    transport = request.transport
    peer = transport.get_extra_info("peercert") if transport else None
    if not peer:
        raise web.HTTPUnauthorized
    (uri,) = (value for kind, value in peer["subjectAltName"] if kind == "URI")
    return WorkloadId.parse(uri).service
