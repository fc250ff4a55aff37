"""One estate for all traffic tests, and how a test speaks to it.

``web`` and ``admin`` call; ``api`` (HTTP) has two instances of version 1 and one of version 2,
``store`` (TCP) and ``greeter`` (gRPC) one of each; ``spare`` (HTTP) is a service of its own.
A version is the meta ``version`` of an instance, and the label of its proxy; ``api-1`` and the
callers stand in the locality ``here``, the others ``there``.  Everybody may call everybody.
"""

from __future__ import annotations

import asyncio
import time
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import aiohttp
import grpc
import yaml

from mesh.clients.consul import ConsulClient
from mesh.clients.consul.policies import Policies
from mesh.clients.consul.policy_records import Key, deletions, puts
from mesh.clients.zone import ZoneAddress, ZoneClient
from mesh.demo.estate import HOST, Estate, free_ports
from mesh.model.intentions import Action, Intention
from mesh.policies.document import DEFAULT_MESH, Document, parse
from mesh.policies.registry import KINDS
from tests.traffic.applications import Application, greeter, http, line

T = TypeVar("T")

CALLERS = ("web", "admin")
PROTOCOLS = {"api": "http", "spare": "http", "greeter": "grpc", "store": "tcp"}
"""What each service speaks."""
INSTANCES = {
    "api-1": ("api", "v1", "here"),
    "api-2": ("api", "v1", "there"),
    "api-3": ("api", "v2", "there"),
    "spare-1": ("spare", "v1", "here"),
    "greeter-1": ("greeter", "v1", "here"),
    "greeter-2": ("greeter", "v2", "there"),
    "store-1": ("store", "v1", "here"),
    "store-2": ("store", "v2", "there"),
}
"""Each instance's service, version and locality."""
SUBSETS = {version: {"Filter": f"Service.Meta.version == {version}"} for version in ("v1", "v2")}
"""``Subsets`` for a service-resolver of any of them."""
_SERVERS = {"http": http, "grpc": greeter, "tcp": line}
_MARK = "traffic-test-mark"


@dataclass(frozen=True, slots=True)
class Answer:
    """An HTTP answer; ``json`` is what :func:`tests.traffic.applications.http` says."""

    status: int
    headers: Mapping[str, str]
    text: str
    json: Mapping[str, Any]
    seconds: float

    @property
    def instance(self) -> str:
        """The name of the instance that answered; empty if a proxy did."""
        return self.headers.get("x-instance", "")


@dataclass(slots=True)
class Bed:
    """The running estate.  What a test applies through it is undone after the test."""

    estate: Estate
    consul: ConsulClient
    session: aiohttp.ClientSession
    apps: Mapping[str, Application]
    _applied: set[Key] = field(default_factory=set)
    _entries: set[tuple[str, str]] = field(default_factory=set)

    def port(self, service: str, *, caller: str = "web") -> int:
        """Return where ``caller``'s application dials ``service``."""
        return self.estate.services[caller].upstreams[service]

    def url(self, service: str, path: str = "/", *, caller: str = "web") -> str:
        """Return the URL at which ``caller``'s application calls ``service``."""
        return f"http://{HOST}:{self.port(service, caller=caller)}{path}"

    async def call(
        self,
        path: str = "/",
        *,
        service: str = "api",
        caller: str = "web",
        method: str = "GET",
        headers: Mapping[str, str] | None = None,
        body: bytes | None = None,
    ) -> Answer:
        """Make one HTTP call as ``caller``'s application would, following no redirect."""
        began = time.monotonic()
        async with self.session.request(
            method,
            self.url(service, path, caller=caller),
            headers=headers,
            data=body,
            allow_redirects=False,
        ) as answer:
            text = await answer.text()
            found = await answer.json() if answer.content_type == "application/json" else {}
            took = time.monotonic() - began
            return Answer(answer.status, answer.headers.copy(), text, found, took)

    async def tally(self, count: int, path: str = "/", **options: Any) -> Counter[str]:
        """Make ``count`` calls, eight at a time; count who answered, or else the status."""
        gate = asyncio.Semaphore(8)

        async def one() -> str:
            async with gate:
                answer = await self.call(path, **options)
                return answer.instance if answer.status == 200 else str(answer.status)

        return Counter(await asyncio.gather(*(one() for _ in range(count))))

    async def rpc(self, method: str = "Greet", *, caller: str = "web", timeout: float = 10) -> str:  # noqa: ASYNC109 - gRPC's own deadline
        """Call the gRPC application; return who answered, or the status's name."""
        address = f"{HOST}:{self.port('greeter', caller=caller)}"
        async with grpc.aio.insecure_channel(address) as channel:
            try:
                answer = await channel.unary_unary(f"/demo.Greeter/{method}")(b"", timeout=timeout)
            except grpc.aio.AioRpcError as error:
                return str(error.code().name)
            return bytes(answer).decode()

    async def dial(self, service: str = "store", *, caller: str = "web") -> str:
        """Open a TCP connection; return the name that the instance says, empty if it closed."""
        reader, writer = await asyncio.open_connection(HOST, self.port(service, caller=caller))
        try:
            return (await asyncio.wait_for(reader.readline(), 10)).decode().strip()
        except ConnectionError:
            return ""
        finally:
            writer.close()

    async def apply(self, *documents: str | Mapping[str, Any]) -> None:
        """Apply policies (YAML, or already decoded) and wait until every proxy has them."""
        read = [_read(document) for document in documents]
        self._applied |= {Key(one.mesh, one.kind, one.name) for one in read}
        await self._commit(read, ())

    async def delete(self, kind: str, name: str) -> None:
        """Delete a policy and wait until no proxy has it any more."""
        await self._commit((), (Key(DEFAULT_MESH, kind, name),))

    async def entry(self, kind: str, name: str, **fields: Any) -> None:
        """Write a Consul configuration entry and wait until every proxy has it."""
        await self.consul.config_put({"Kind": kind, "Name": name, **fields})
        self._entries.add((kind, name))
        await self._entries_are_in()

    async def reset(self) -> None:
        """Undo what was applied, and let the applications forget."""
        for kind, name in sorted(self._entries, key=lambda one: _ORDER.index(one[0])):
            if kind == "service-defaults":
                await self.consul.config_put(_defaults(name))
            else:
                await self.consul.config_delete(kind, name)
        if self._entries:
            self._entries.clear()
            await self._entries_are_in()
        if self._applied:
            gone, self._applied = tuple(self._applied), set()
            await self._commit((), gone)
        for app in self.apps.values():
            app.reset()

    async def in_sync(self) -> None:
        """Wait until every proxy has acknowledged the newest of everything."""

        async def ask() -> bool | None:
            found = await self._zone(lambda zone: zone.proxies())
            return True if all(one["in_sync"] for one in found["proxies"]) else None

        await until("every proxy is in sync", ask)

    async def _commit(self, documents: list[Document] | tuple[()], gone: tuple[Key, ...]) -> None:
        mark = uuid.uuid4().hex
        store = Policies(self.consul)
        held = await store.read(DEFAULT_MESH)
        wanted = [*(one.raw for one in documents), _marking(mark).raw]
        await store.commit([*puts(held, wanted), *deletions(held, gone)])

        async def seen() -> bool | None:
            # Policies are one piece of news: who has the mark was sent the others with it.
            texts = [(await self.call(f"/mark/{mark}", caller=one)).text for one in CALLERS]
            return True if texts == [mark] * len(CALLERS) else None

        await until("the callers' proxies have the policies", seen)
        await self.in_sync()

    async def _entries_are_in(self) -> None:
        """Wait until an entry that was written last shows at the callers' proxies."""
        mark = uuid.uuid4().hex
        route = {
            "Match": {"HTTP": {"PathExact": f"/mark/{mark}"}},
            "Destination": {"Service": "spare", "ResponseHeaders": {"Set": {"x-mark": mark}}},
        }
        await self.consul.config_put({"Kind": "service-router", "Name": "spare", "Routes": [route]})

        async def seen() -> bool | None:
            for caller in CALLERS:
                answer = await self.call(f"/mark/{mark}", service="spare", caller=caller)
                if answer.headers.get("x-mark") != mark:
                    return None
            return True

        await until("the callers' proxies have the entries", seen)
        await self.in_sync()

    async def _zone(self, ask: Callable[[ZoneClient], Awaitable[T]]) -> T:
        host, _, port = self.estate.zone_api.rpartition(":")
        address = ZoneAddress(host, int(port), self.estate.bundle_file)
        token = self.estate.admin_token_file.read_text().strip()
        async with ZoneClient(address, token) as zone:
            return await ask(zone)


_ORDER = (
    "service-router",
    "service-splitter",
    "service-resolver",
    "service-defaults",
    "proxy-defaults",
)
"""Kinds in an order in which they can be deleted."""


async def until(what: str, ask: Callable[[], Awaitable[T | None]], *, patience: float = 15) -> T:
    """Ask again and again until something comes back, and return it."""
    ends = time.monotonic() + patience
    while True:
        found = await ask()
        if found is not None:
            return found
        assert time.monotonic() < ends, f"not within {patience} s: {what}"
        await asyncio.sleep(0.02)


@asynccontextmanager
async def made(directory: Path) -> AsyncIterator[Bed]:
    """Start everything; leaving ends it."""
    ports = dict(zip((*INSTANCES, *CALLERS), free_ports(len(INSTANCES) + 2), strict=True))
    async with AsyncExitStack() as stack:
        estate = await stack.enter_async_context(Estate(directory))
        await estate.start_zone()
        consul = await stack.enter_async_context(estate.client())
        for service in PROTOCOLS:
            await consul.config_put(_defaults(service))
            await consul.intentions.put(Intention("*", service, Action.ALLOW))
        apps = {}
        for name, (service, _, _) in INSTANCES.items():
            serve = _SERVERS[PROTOCOLS[service]]
            apps[name] = await stack.enter_async_context(serve(Application(name, ports[name])))
        await asyncio.gather(
            *(
                estate.start_proxy(
                    service,
                    app_port=ports[name],
                    instance=name,
                    settings={"labels": {"version": version, "locality": locality}},
                )
                for name, (service, version, locality) in INSTANCES.items()
            ),
            *(
                estate.start_proxy(
                    name,
                    app_port=ports[name],
                    upstreams=tuple(PROTOCOLS),
                    settings={"health": {"kind": "none"}, "labels": {"locality": "here"}},
                )
                for name in CALLERS
            ),
        )
        await estate.ready()
        connector = aiohttp.TCPConnector(limit=0)
        session = await stack.enter_async_context(aiohttp.ClientSession(connector=connector))
        bed = Bed(estate, consul, session, apps)
        # The mark stays: that there is no policy at all any more would be doubted for a while.
        await bed.apply()
        yield bed


def _marking(mark: str) -> Document:
    """Return a policy by which the callers' own proxies answer ``/mark/<mark>``."""
    rule = {
        "matches": [{"path": {"type": "Exact", "value": f"/mark/{mark}"}}],
        "default": {
            "filters": [{"type": "DirectResponse", "directResponse": {"status": 200, "body": mark}}]
        },
    }
    to = [{"targetRef": {"kind": "MeshService", "name": "api"}, "rules": [rule]}]
    return _read({"type": "MeshHTTPRoute", "name": _MARK, "spec": {"to": to}})


def _read(document: str | Mapping[str, Any]) -> Document:
    raw = yaml.safe_load(document) if isinstance(document, str) else document
    return parse(raw, KINDS)


def _defaults(service: str) -> dict[str, Any]:
    return {"Kind": "service-defaults", "Name": service, "Protocol": PROTOCOLS[service]}
