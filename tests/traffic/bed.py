"""One estate for all traffic tests, and how a test speaks to it.

``web`` and ``admin`` call; ``api`` (HTTP) has two instances of version 1 and one of version 2,
``store`` (TCP) and ``greeter`` (gRPC) one of each; ``spare`` (HTTP) is a service of its own.
A version is the meta ``version`` of an instance, and the label of its proxy; ``api-1`` and the
callers stand in the locality ``here``, the others ``there``.  Everybody may call everybody.
``outside`` is an upstream of the callers that nobody registers: a place for external services.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp

from mesh.clients.consul import ConsulClient
from mesh.clients.consul.policies import Policies
from mesh.clients.consul.policy_records import Key, deletions, puts
from mesh.demo.estate import Estate, free_ports
from mesh.model.intentions import Action, Intention
from mesh.policies.document import DEFAULT_MESH, Document
from tests.traffic.applications import Application, greeter, http, line
from tests.traffic.calls import Calls
from tests.traffic.questions import Questions, ports_of, read
from tests.traffic.services import CALLERS, INSTANCES, OUTSIDE, PROTOCOLS
from tests.traffic.waiting import until

_SERVERS = {"http": http, "grpc": greeter, "tcp": line}
_MARK = "traffic-test-mark"
_ORDER = (
    "service-router",
    "service-splitter",
    "service-resolver",
    "service-defaults",
    "proxy-defaults",
    "jwt-provider",
)
"""Kinds in an order in which they can be deleted."""


@dataclass
class Bed(Calls, Questions):
    """The running estate.  What a test applies through it is undone after the test."""

    consul: ConsulClient
    apps: Mapping[str, Application]
    doors: Mapping[str, AsyncExitStack]
    """What closing ends each application's server."""
    _applied: set[Key] = field(default_factory=set)
    _entries: set[tuple[str, str]] = field(default_factory=set)
    _inbound: bool = False

    async def apply(
        self, *documents: str | Mapping[str, Any], settle: bool = True, anew: bool = True
    ) -> None:
        """Apply policies (YAML, or already decoded) and wait until every proxy has them.

        Without ``settle`` nobody need have taken them: for what a proxy will refuse.  Without
        ``anew`` the callers' connections stay, even where the callee has other filters now.
        """
        said = [read(document) for document in documents]
        self._applied |= {Key(one.mesh, one.kind, one.name) for one in said}
        await self._commit(said, (), settle=settle)
        if anew and any(one.raw["spec"].get("rules") for one in said):
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

    async def renew(self) -> None:
        """Let the callers' proxies begin anew: no open connection, and no instance left out."""
        timeout = {"targetRef": {"kind": "Mesh"}, "default": {"connectionTimeout": "4s"}}
        another = read({"type": "MeshTimeout", "name": "renew", "spec": {"to": [timeout]}})
        await self._commit([another], ())
        await self._commit((), (Key(another.mesh, another.kind, another.name),))

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
        bed = Bed(estate, session, consul, apps, doors)
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
    return read({"type": "MeshHTTPRoute", "name": _MARK, "spec": {"to": to}})


def _defaults(service: str) -> dict[str, Any]:
    return {"Kind": "service-defaults", "Name": service, "Protocol": PROTOCOLS[service]}
