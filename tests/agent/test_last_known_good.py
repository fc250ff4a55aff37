"""What a real zone rendered, recorded, and served again when nobody else is left."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import ssl
import tempfile
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import jwt
import pytest
from aiohttp import ClientSession, ClientTimeout, web
from cryptography.hazmat.primitives.asymmetric import ec
from jwt.algorithms import ECAlgorithm

from mesh.agent.envoy_process import find_envoy
from mesh.agent.identity_files import IdentityFiles
from mesh.agent.settings import AgentSettings
from mesh.agent.state import StateDir
from mesh.agent.supervisor import LAST_GOOD
from mesh.agent.validation import refusal
from mesh.aio.clock import SystemClock
from mesh.model.entries import Entries, ServiceDefaults
from mesh.model.intentions import (
    Action,
    Intention,
    JwtProvider,
    JwtRequirement,
    PathMatch,
    PathMatchKind,
    Permission,
)
from mesh.model.proxies import Inbound, Upstream
from mesh.model.services import Protocol
from mesh.world.changes import ConfigEntriesChanged, IntentionsChanged
from tests.agent.conftest import free_port
from tests.agent.envoys import end_all
from tests.agent.pki import Authority
from tests.agent.realzone import RealZone, real_zone
from tests.agent.running import agent, kill_envoys, says
from tests.waiting import until

GREETING = b"hello from db\n"
ISSUER = "https://login.example"


@dataclass
class Estate:
    """``web``, which calls, and ``db``, which is called, on one host."""

    web: AgentSettings
    db: AgentSettings
    directory: Path
    accepted: list[int] = field(default_factory=list)

    @property
    def inbound(self) -> Inbound:
        """Where ``db`` is to be had."""
        assert self.db.inbound is not None
        return self.db.inbound

    @property
    def outbound(self) -> int:
        """Where ``web`` dials ``db``."""
        return self.web.upstreams[0].port

    def recorded(self, settings: AgentSettings) -> str:
        """Return a proxy's last known good configuration; empty if there is none."""
        file = settings.state_dir / LAST_GOOD
        return file.read_text() if file.exists() else ""

    @staticmethod
    def reaches_db(recorded: str) -> bool:
        """Whether a record has the way to ``db``, and not a refusal."""
        clusters = json.loads(recorded)["static_resources"]["clusters"]
        return [each["name"] for each in clusters] == ["db"]

    def all_recorded(self) -> bool:
        """Whether both have one."""
        return all(map(self.recorded, (self.web, self.db)))

    async def all_fallen_back(self) -> bool:
        """Whether both are ready and serve from it."""
        line = "mesh_agent_config_last_good 1"
        return await says(self.web, line) and await says(self.db, line)

    async def enrol(self, zone: RealZone) -> None:
        """Give both an identity, and tell the zone of both."""
        zone.runs("db", self.inbound.port)
        for each in (self.web, self.db):
            await zone.enrol(each)

    @contextlib.asynccontextmanager
    async def agents(self) -> AsyncIterator[None]:
        """Run both agents."""
        async with agent(self.web), agent(self.db):
            yield

    def kill(self) -> None:
        """Kill both Envoys."""
        for each in (self.web, self.db):
            kill_envoys(each)

    @contextlib.asynccontextmanager
    async def application(self) -> AsyncIterator[None]:
        """Run a ``db`` that speaks first."""

        async def greet(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            self.accepted.append(1)
            writer.write(GREETING)
            writer.close()
            await writer.wait_closed()

        place = (self.inbound.local_address, self.inbound.local_port)
        async with await asyncio.start_server(greet, *place):
            yield


def settings(directory: Path, service: str, **more: object) -> AgentSettings:
    """Return a proxy's settings; its zone has no API, and needs none once it is enrolled."""
    common: dict[str, object] = {
        "service": service,
        "id": f"{service}-1",
        "state_dir": directory / service,
        "zone_api": (("127.0.0.1", free_port()),),
        "proof_kind": "join-token",
        "proof_file": directory / "token",
        "listen": ("127.0.0.1", free_port()),
        "drain_seconds": 2.0,
        "concurrency": 1,
        "log_level": "warning",
    }
    return AgentSettings(**{**common, **more})  # type: ignore[arg-type]  # fields by name


@pytest.fixture
def estate(tmp_path: Path) -> Iterator[Estate]:
    db = Inbound("127.0.0.1", free_port(), "127.0.0.1", free_port())
    made = Estate(
        settings(tmp_path, "web", upstreams=(Upstream("db", free_port()),)),
        settings(tmp_path, "db", inbound=db),
        tmp_path,
    )
    yield made
    for each in (made.web, made.db):
        state = StateDir(each.state_dir)
        end_all(state)
        state.close()


async def greeting(port: int, context: ssl.SSLContext | None = None) -> bytes:
    """Return what is said to who connects and stays silent; nothing if he is turned away."""
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context)
    except OSError:
        return b""
    try:
        async with asyncio.timeout(5):
            return await reader.readline()
    except OSError:
        return b""
    finally:
        writer.close()


async def bare(zone: RealZone, service: str) -> ssl.SSLContext:
    """Return what a ``service`` would dial with that has no proxy to hold it back."""
    chain, key, _ = await zone.certify(service)
    context = ssl.create_default_context(cadata=zone.issuer.bundle().pem)
    context.check_hostname = False
    with tempfile.TemporaryDirectory() as directory:
        both = Path(directory) / "both.pem"
        both.write_text(chain + key)
        context.load_cert_chain(both)
    return context


async def test_callers_are_told_apart_when_nobody_is_left(estate: Estate) -> None:
    async with real_zone(estate.directory / "ca") as zone:
        zone.allow()
        await estate.enrol(zone)
        allowed, stranger = [await bare(zone, service) for service in ("web", "evil")]
        async with estate.agents():
            await until(estate.all_recorded)
            before = estate.recorded(estate.db)
            zone.allow(("web", "db"))
            await until(lambda: estate.recorded(estate.db) != before, what="the grant is recorded")
            await until(lambda: estate.reaches_db(estate.recorded(estate.web)))
    estate.kill()
    state = StateDir(estate.db.state_dir)
    assert await refusal(find_envoy(None), LAST_GOOD, state) == ""
    async with estate.agents(), estate.application():
        await until(estate.all_fallen_back)
        assert await greeting(estate.outbound) == GREETING
        assert await greeting(estate.inbound.port, allowed) == GREETING
        count = len(estate.accepted)
        assert await greeting(estate.inbound.port, stranger) == b""
        assert len(estate.accepted) == count
        # And the bundle's file is followed still.
        IdentityFiles(state).save_bundle(Authority("mesh.example").root)

        async def distrusted() -> bool:
            return await greeting(estate.inbound.port, allowed) == b""

        await until(distrusted, what="callers under the former root are refused")
    state.close()


def key_set(key: ec.EllipticCurvePrivateKey) -> str:
    return json.dumps(
        {"keys": [{**ECAlgorithm.to_jwk(key.public_key(), as_dict=True), "kid": "1"}]}
    )


def tell_of_requests(zone: RealZone, keys: str) -> None:
    """Have ``web`` call /open freely and /closed with a token, and nothing else."""
    http = {name: ServiceDefaults(name, Protocol.HTTP) for name in ("db", "web")}
    provider = JwtProvider("login", ISSUER, jwks=keys)
    zone.tell(ConfigEntriesChanged(Entries(http), {"login": provider}))
    permissions = tuple(
        Permission(Action.ALLOW, path=PathMatch(PathMatchKind.PREFIX, path), jwt=token)
        for path, token in (("/open", ()), ("/closed", (JwtRequirement("login"),)))
    )
    zone.tell(IntentionsChanged.of((Intention("web", "db", permissions=permissions),)))


@contextlib.asynccontextmanager
async def http_application(place: Inbound) -> AsyncIterator[None]:
    async def hello(_: web.Request) -> web.Response:
        return web.Response(text="hello")

    app = web.Application()
    app.router.add_get("/{path:.*}", hello)
    runner = web.AppRunner(app)
    await runner.setup()
    try:
        await web.TCPSite(runner, place.local_address, place.local_port).start()
        yield
    finally:
        await runner.cleanup()


async def test_requests_and_tokens_are_told_apart_when_nobody_is_left(estate: Estate) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    claims = {"iss": ISSUER, "exp": SystemClock().now().timestamp() + 600}
    token = jwt.encode(claims, key, algorithm="ES256", headers={"kid": "1"})
    async with real_zone(estate.directory / "ca") as zone:
        tell_of_requests(zone, key_set(key))
        await estate.enrol(zone)
        async with estate.agents():
            await until(estate.all_recorded)
    estate.kill()
    async with estate.agents(), http_application(estate.inbound):
        await until(estate.all_fallen_back)
        async with ClientSession(timeout=ClientTimeout(total=5)) as client:
            for path, sent, status in (
                ("/open", "", 200),
                ("/other", "", 403),
                ("/closed", "", 403),
                ("/closed", token, 200),
            ):
                headers = {"Authorization": f"Bearer {sent}"} if sent else {}
                url = f"http://127.0.0.1:{estate.outbound}{path}"
                async with client.get(url, headers=headers) as answer:
                    assert (path, sent, answer.status) == (path, sent, status)


async def test_what_envoy_refused_is_not_recorded(
    estate: Estate, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING, "mesh.agent.recorder")
    async with real_zone(estate.directory / "ca") as zone:
        zone.allow(("web", "db"))
        await estate.enrol(zone)
        async with agent(estate.db):
            await until(lambda: estate.recorded(estate.db) != "")
            before = estate.recorded(estate.db)
            tell_of_requests(zone, '{"keys": []}')
            await until(lambda: "last known good kept as it was" in caplog.text)
            assert estate.recorded(estate.db) == before
    kept = [each for each in caplog.records if each.name == "mesh.agent.recorder"]
    assert "jwks" in str(kept[0].__dict__["reason"])
