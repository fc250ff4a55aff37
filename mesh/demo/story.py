"""What the demo shows: acts, each with a fact that can be false.

An act returns the sentence for the final table or raises :class:`ActFailedError`.  The demo
succeeds only if every act held.
"""

from __future__ import annotations

import asyncio
import signal
import socket
import ssl
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from http import HTTPStatus
from typing import Final

import aiohttp
from cryptography import x509

from mesh.clients.consul import ConsulClient, Dialect
from mesh.demo.applications import Api, Database, Web, ask_database
from mesh.demo.canary import CALLS, Canary, take_over
from mesh.demo.estate import Estate
from mesh.demo.load import Load
from mesh.demo.loopback import HOST, free_ports
from mesh.demo.second import FIRST, GREETING, SECOND, SecondZone
from mesh.model.intentions import Action, Intention, PathMatch, PathMatchKind, Permission

_SECONDS: Final = 10.0
"""How long an act waits for what it expects."""
_REQUESTS: Final = 300
"""Requests sent while something is broken on purpose."""


class ActFailedError(Exception):
    """An act did not hold; the message says what was seen instead."""


class NotOfferedError(Exception):
    """This Consul lacks what the act shows; the message names the version that has it."""


@dataclass(frozen=True, slots=True)
class Act:
    """One thing that is shown."""

    title: str
    play: Callable[[], Awaitable[str]]


class Story:
    """The acts, over an estate with three services."""

    def __init__(self, estate: Estate, second: SecondZone | None) -> None:
        """Play on ``estate``, whose zone runs; ``second`` is where another zone can be."""
        self._estate = estate
        self._second = second
        self._consul: ConsulClient = estate.client()
        self._entry = 0
        self._canary = Canary(estate, self._consul)
        self._applications: list[Database | Api | Web] = []

    def acts(self) -> tuple[Act, ...]:
        """Return the acts in their order."""
        return (
            Act("Three services join the mesh", self.join),
            Act("A call that nobody allowed is refused, in words", self.refused),
            Act("One intention later it passes", self.allowed),
            Act("A chain of three: web → api → db", self.chained),
            Act("TCP is refused too", self.refused_tcp),
            Act("On the wire: mutual TLS or nothing", self.encrypted),
            Act("Permissions by method and path", self.permissions),
            Act("A new version takes over under load", self.taken_over),
            Act("Certificates rotate under load", self.rotated),
            Act("The control plane dies under load", self.killed),
            Act("A second zone stands in, under load", self.stood_in),
        )

    async def close(self) -> None:
        """Take back what the story wrote to the registry, and stop the applications."""
        for application in reversed(self._applications):
            await application.close()
        if self._estate.consul and not self._estate.owns_consul:
            for source, destination in (("web", "api"), ("api", "db")):
                await self._consul.intentions.delete(source, destination)
            await self._canary.close()
            for name in ("web", "api"):
                await self._consul.config_delete("service-defaults", name)
        await self._consul.close()

    async def join(self) -> str:
        """Start the proxies and the applications."""
        began = time.monotonic()
        await self._check_names()
        for name in ("web", "api"):
            await self._consul.config_put(
                {"Kind": "service-defaults", "Name": name, "Protocol": "http"}
            )
        if await self._consul.default_allow():
            await self._consul.intentions.put(Intention("*", "*", Action.DENY))
        web_port, api_port, db_port = free_ports(3)
        database = Database()
        await self._run(database, db_port)
        _, api, web = await asyncio.gather(
            self._estate.start_proxy("db", app_port=db_port),
            self._estate.start_proxy("api", app_port=api_port, upstreams=["db"]),
            self._estate.start_proxy("web", app_port=web_port, upstreams=["api", "db"]),
        )
        await self._run(Api(api.upstreams["db"]), api_port)
        await self._run(Web(web.upstreams["api"]), web_port)
        self._entry = web_port
        await self._estate.ready()
        return f"web, api and db, each with an Envoy, in {time.monotonic() - began:.1f} s"

    async def refused(self) -> str:
        """Call before any intention."""
        status, body = await self._get("/")
        _expect(status == HTTPStatus.FORBIDDEN, f"web → api answered {status}: {body}")
        _expect("mesh intention allow web api" in body, f"the refusal does not help: {body}")
        return f"403: {body}"

    async def allowed(self) -> str:
        """Allow the call and time how long that takes to bite, then take it back and again."""
        took = [
            await self._bite(Intention("web", "api", Action.ALLOW), HTTPStatus.OK),
            await self._bite(Intention("web", "api", Action.DENY), HTTPStatus.FORBIDDEN),
            await self._bite(Intention("web", "api", Action.ALLOW), HTTPStatus.OK),
        ]
        shown = ", ".join(f"{1000 * each:.0f}" for each in took)
        return f"allow, deny, allow: each bit after {shown} ms"

    async def chained(self) -> str:
        """Allow the second hop."""
        status, body = await self._get("/orders/1")
        _expect(status != HTTPStatus.OK, "api → db was allowed without an intention")
        await self._consul.intentions.put(Intention("api", "db", Action.ALLOW))
        await self._until("/orders/1", HTTPStatus.OK)
        _, body = await self._get("/orders/1")
        _expect("espresso" in body, f"the chain answered {body}")
        return f"GET /orders/1 → {body}"

    async def refused_tcp(self) -> str:
        """Let web try the database, which it may not."""
        try:
            answer = await ask_database(self._estate.services["web"].upstreams["db"], "1")
        except (ConnectionError, TimeoutError) as error:
            return f"web → db: {type(error).__name__}"
        raise ActFailedError(f"web read {answer!r} from db")

    async def encrypted(self) -> str:
        """Knock at api's inbound port in plain text, and with TLS but no certificate."""
        port = self._estate.services["api"].inbound_port
        plain = await self._knock(port, None)
        _expect(not plain, f"api's proxy answered plain text with {plain!r}")
        context = ssl.create_default_context(cafile=str(self._estate.bundle_file))
        context.check_hostname = False
        nameless = await self._knock(port, context)
        _expect(not nameless, f"api's proxy answered a caller without certificate: {nameless!r}")
        identity = await asyncio.to_thread(_served_identity, port, context)
        return f"plain text and strangers get nothing; the proxy is {identity}"

    async def permissions(self) -> str:
        """Allow web to read orders and nothing else."""
        if await self._consul.dialect() is Dialect.LEGACY:
            version = (await self._consul.agent_self())["Config"]["Version"]
            raise NotOfferedError(f"needs Consul 1.9 or newer (this one is {version})")
        read = Permission(
            Action.ALLOW, path=PathMatch(PathMatchKind.PREFIX, "/orders"), methods=("GET",)
        )
        await self._consul.intentions.put(Intention("web", "api", permissions=(read,)))
        await self._until("/", HTTPStatus.FORBIDDEN)
        await self._until("/orders/2", HTTPStatus.OK)
        status, body = await self._get("/orders/2", method="DELETE")
        _expect(status == HTTPStatus.FORBIDDEN, f"DELETE /orders/2 answered {status}")
        await self._bite(Intention("web", "api", Action.ALLOW), HTTPStatus.OK)
        return f"GET /orders passes, DELETE does not: {body}"

    async def taken_over(self) -> str:
        """Move the calls from one version of api to another, by weight."""

        async def greeting() -> str:
            return (await self._get("/"))[1]

        application, port = await self._canary.start()
        await self._run(application, port)
        await self._estate.ready("api-2")
        seen, load = await take_over(self._canary, self._url("/"), greeting)
        _expect(load.tally.failed == 0, str(load.tally))
        _expect(seen.endswith(f"then {CALLS} of {CALLS}"), f"the new version got {seen}")
        return f"the new version got {seen}; {load.tally}"

    async def rotated(self) -> str:
        """Renew every certificate while requests flow."""
        before = await self._serials()
        async with Load(self._url("/orders/1")) as load:
            await load.reach(_REQUESTS // 3)
            for service in self._estate.services.values():
                service.child.process.send_signal(signal.SIGHUP)
            await self._renewed(before)
            await load.reach(_REQUESTS)
        _expect(load.tally.failed == 0, str(load.tally))
        return f"new certificates for all; {load.tally}"

    async def killed(self) -> str:
        """Kill the zone without warning, and start it again."""
        zone = self._estate.zone
        _expect(zone is not None, "there is no zone")
        async with Load(self._url("/orders/1")) as load:
            await load.reach(_REQUESTS // 3)
            if zone is not None:
                await zone.kill()
            await load.reach(_REQUESTS)
            await self._estate.start_zone()
            await load.reach(_REQUESTS // 3)
        _expect(load.tally.failed == 0, str(load.tally))
        took = await self._bite(Intention("web", "api", Action.DENY), HTTPStatus.FORBIDDEN)
        return f"{load.tally}; back again, an intention bit after {1000 * took:.0f} ms"

    async def stood_in(self) -> str:
        """Lose every api of the first zone, and get it back."""
        second = self._second
        if second is None:
            raise NotOfferedError("needs a second datacenter: unset CONSUL_HTTP_ADDR")
        await self._canary.close()
        await self._consul.intentions.put(Intention("web", "api", Action.ALLOW))
        await second.start(self._run)
        await second.read_again()
        await self._until("/orders/1", HTTPStatus.OK)
        services = self._estate.services
        async with Load(self._url("/orders/1")) as load:
            await load.reach(_REQUESTS // 3)
            await second.lose([services["api"], services["api-2"]])
            await self._greeted(lambda text: text == GREETING)
            await load.reach(_REQUESTS)
            (port,) = free_ports(1)
            back = await self._estate.start_proxy(
                "api", app_port=port, upstreams=["db"], instance="api-3"
            )
            await self._run(Api(back.upstreams["db"]), port)
            await self._estate.ready("api-3")
            await self._greeted(lambda text: text != GREETING)
            await load.reach(_REQUESTS // 3)
        _expect(load.tally.failed == 0, str(load.tally))
        return f"web → api in {SECOND} → db in {FIRST}, and home again; {load.tally}"

    # Tools

    async def _run(self, application: Database | Api | Web, port: int) -> None:
        await application.start(port)
        self._applications.append(application)

    async def _greeted(self, wanted: Callable[[str], bool]) -> None:
        """Wait until api's greeting is as ``wanted``."""
        began = time.monotonic()
        while not wanted((await self._get("/"))[1]):
            if time.monotonic() - began > _SECONDS:
                raise ActFailedError(f"the greeting is still {(await self._get('/'))[1]!r}")

    async def _check_names(self) -> None:
        taken = {"web", "api", "db"} & set((await self._consul.catalog_services()).value)
        _expect(
            not taken or not self._estate.consul,
            f"this Consul already has services named {', '.join(sorted(taken))}: "
            "the demo uses those names; point CONSUL_HTTP_ADDR at another Consul, or unset it",
        )

    def _url(self, path: str) -> str:
        return f"http://{HOST}:{self._entry}{path}"

    async def _get(self, path: str, *, method: str = "GET") -> tuple[int, str]:
        async with (
            aiohttp.ClientSession() as session,
            session.request(method, self._url(path)) as answer,
        ):
            return answer.status, (await answer.text()).strip()

    async def _bite(self, intention: Intention, status: int) -> float:
        """Write ``intention`` and return the seconds until calls answer ``status``."""
        await self._consul.intentions.put(intention)
        return await self._until("/", status)

    async def _until(self, path: str, status: int) -> float:
        began = time.monotonic()
        async with aiohttp.ClientSession() as session:
            while time.monotonic() - began < _SECONDS:
                async with session.get(self._url(path)) as answer:
                    await answer.read()
                    if answer.status == status:
                        return time.monotonic() - began
        raise ActFailedError(f"GET {path} did not answer {status} within {_SECONDS:.0f} s")

    async def _knock(self, port: int, context: ssl.SSLContext | None) -> bytes:
        try:
            async with asyncio.timeout(_SECONDS):
                reader, writer = await asyncio.open_connection(HOST, port, ssl=context)
                writer.write(b"GET / HTTP/1.1\r\nhost: api\r\n\r\n")
                try:
                    return await reader.read(100)
                finally:
                    writer.close()
        except (OSError, TimeoutError):
            return b""

    async def _serials(self) -> dict[str, int]:
        found = {}
        for name, service in self._estate.services.items():
            pem = (service.state / "svid.pem").read_bytes()
            found[name] = x509.load_pem_x509_certificate(pem).serial_number
        return found

    async def _renewed(self, before: dict[str, int]) -> None:
        began = time.monotonic()
        while time.monotonic() - began < _SECONDS:
            now = await self._serials()
            if all(now[name] != before[name] for name in before):
                return
            await asyncio.sleep(0.05)
        raise ActFailedError(f"not every certificate was renewed within {_SECONDS:.0f} s")


def _served_identity(port: int, context: ssl.SSLContext) -> str:
    """Return the SPIFFE URI in the certificate that is served on ``port``."""
    with (
        socket.create_connection((HOST, port), timeout=_SECONDS) as plain,
        context.wrap_socket(plain) as secure,
    ):
        names = secure.getpeercert() or {}
    found = [tuple(map(str, name)) for name in names.get("subjectAltName", ())]
    return next((value for kind, value in found if kind == "URI"), "nameless")


def _expect(held: bool, otherwise: str) -> None:  # noqa: FBT001 - an assertion for people
    if not held:
        raise ActFailedError(otherwise)
