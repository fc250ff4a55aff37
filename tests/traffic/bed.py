"""One estate for all traffic tests, and how a test speaks to it.

``web`` and ``admin`` call; ``api`` (HTTP) has two instances of version 1 and one of version 2,
``store`` (TCP) and ``greeter`` (gRPC) one of each; ``spare`` (HTTP) is a service of its own.
A version is the meta ``version`` of an instance, and the label of its proxy; ``api-1`` and the
callers stand in the locality ``here``, the others ``there``.  Everybody may call everybody.
``outside`` is an upstream of the callers that nobody registers: a place for external services.
"""

from __future__ import annotations

import asyncio
import time
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
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
OUTSIDE = "outside"
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
    doors: Mapping[str, AsyncExitStack]
    """What closing ends each application's server."""
    _applied: set[Key] = field(default_factory=set)
    _entries: set[tuple[str, str]] = field(default_factory=set)
    _inbound: bool = False

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

    async def apply(
        self, *documents: str | Mapping[str, Any], settle: bool = True, anew: bool = True
    ) -> None:
        """Apply policies (YAML, or already decoded) and wait until every proxy has them.

        Without ``settle`` nobody need have taken them: for what a proxy will refuse.  Without
        ``anew`` the callers' connections stay, even where the callee has other filters now.
        """
        read = [_read(document) for document in documents]
        self._applied |= {Key(one.mesh, one.kind, one.name) for one in read}
        await self._commit(read, (), settle=settle)
        if anew and any(one.raw["spec"].get("rules") for one in read):
            # What is open to the callee still goes through its former filters, for seconds.
            self._inbound = True
            await self.renew()

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
        if self._inbound:
            self._inbound = False
            await self.renew()
        for app in self.apps.values():
            app.reset()

    async def problems(self) -> list[Mapping[str, Any]]:
        """Return what the zone says is wrong with what Consul holds."""
        found = await self._zone(lambda zone: zone.problems())
        return list(found["problems"])

    async def dry_run(
        self, *documents: str | Mapping[str, Any], delete: Sequence[tuple[str, str]] = ()
    ) -> Mapping[str, Any]:
        """Return what the zone says would change."""
        raw = [_read(document).raw for document in documents]
        return await self._zone(lambda zone: zone.dry_run(raw, delete))

    async def explain(
        self, path: str = "/", *, service: str = "api", caller: str = "web", **options: Any
    ) -> Mapping[str, Any]:
        """Return what the zone says of a call."""
        return await self._zone(lambda zone: zone.explain(caller, service, path=path, **options))

    async def configuration(self) -> dict[str, dict[tuple[str, str], str]]:
        """Return the version of every resource of every proxy, by type URL and name."""

        async def ask(zone: ZoneClient) -> dict[str, dict[tuple[str, str], str]]:
            found = {}
            for proxy in (await zone.proxies())["proxies"]:
                config = await zone.proxy_config(proxy["id"])
                found[proxy["id"]] = {
                    (type_url, each["name"]): each["version"]
                    for type_url, listed in config["resources"].items()
                    for each in listed
                }
            return found

        return await self._zone(ask)

    async def renew(self) -> None:
        """Let the callers' proxies begin anew: no open connection, and no instance left out."""
        timeout = {"targetRef": {"kind": "Mesh"}, "default": {"connectionTimeout": "4s"}}
        another = _read({"type": "MeshTimeout", "name": "renew", "spec": {"to": [timeout]}})
        await self._commit([another], ())
        await self._commit((), (Key(another.mesh, another.kind, another.name),))

    async def in_sync(self) -> None:
        """Wait until every proxy has acknowledged the newest of everything."""

        async def ask() -> bool | None:
            found = await self._zone(lambda zone: zone.proxies())
            return True if all(one["in_sync"] for one in found["proxies"]) else None

        await until("every proxy is in sync", ask)

    @asynccontextmanager
    async def down(self, instance: str) -> AsyncIterator[None]:
        """Close the port of an instance's application for the block, its proxy still standing.

        Leaving it waits until the callers are told of the instance again.
        """
        await self.doors[instance].aclose()
        try:
            yield
        finally:
            app = self.apps[instance]
            service = INSTANCES[instance][0]
            await self.doors[instance].enter_async_context(_SERVERS[PROTOCOLS[service]](app))
            await self.in_rotation(service)

    async def in_rotation(self, service: str) -> None:
        """Wait until the callers' proxies are told of every instance of ``service``."""
        wanted = {
            self.estate.services[instance].inbound_port
            for instance, (name, _, _) in INSTANCES.items()
            if name == service
        }

        async def ask() -> bool | None:
            for caller in CALLERS:
                found = await self.resource(caller, "ClusterLoadAssignment", service)
                if ports_of(found) != wanted:
                    return None
            return True

        await until(f"the callers know every instance of {service}", ask)
        await self.in_sync()

    async def proxies(self) -> Mapping[str, Mapping[str, Any]]:
        """Return how each proxy stands, by ``<service>/<instance>``."""
        found = await self._zone(lambda zone: zone.proxies())
        return {one["id"]: one for one in found["proxies"]}

    async def resources(self, service: str, kind: str, *, instance: str = "") -> dict[str, Any]:
        """Return what a proxy was sent: of the type ``kind`` (``Cluster``), by name, as JSON."""
        node = f"{service}/{instance or f'{service}-1'}"
        found = await self._zone(lambda zone: zone.proxy_config(node))
        return {
            each["name"]: each["content"]
            for type_url, listed in found["resources"].items()
            if type_url.rpartition(".")[2] == kind
            for each in listed
        }

    async def resource(self, service: str, kind: str, name: str) -> dict[str, Any]:
        """Return one resource that a proxy was sent; empty if there is none."""
        found = await self.resources(service, kind)
        return dict(found.get(name, {}))

    async def _commit(
        self,
        documents: list[Document] | tuple[()],
        gone: tuple[Key, ...],
        *,
        settle: bool = True,
    ) -> None:
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
        if settle:
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
    "jwt-provider",
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


def ports_of(assignment: Mapping[str, Any]) -> set[int]:
    """Return the ports of a ClusterLoadAssignment's endpoints."""
    return {
        each["endpoint"]["address"]["socket_address"]["port_value"]
        for group in assignment.get("endpoints", ())
        for each in group.get("lb_endpoints", ())
    }


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
        await consul.intentions.put(Intention("*", OUTSIDE, Action.ALLOW))
        apps, doors = {}, {}
        for name, (service, _, _) in INSTANCES.items():
            serve = _SERVERS[PROTOCOLS[service]]
            doors[name] = await stack.enter_async_context(AsyncExitStack())
            apps[name] = await doors[name].enter_async_context(
                serve(Application(name, ports[name]))
            )
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
                    upstreams=(*PROTOCOLS, OUTSIDE),
                    settings={"health": {"kind": "none"}, "labels": {"locality": "here"}},
                )
                for name in CALLERS
            ),
        )
        await estate.ready()
        connector = aiohttp.TCPConnector(limit=0)
        session = await stack.enter_async_context(aiohttp.ClientSession(connector=connector))
        bed = Bed(estate, consul, session, apps, doors)
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
