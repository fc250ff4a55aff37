"""One real Envoy with configuration of ours, and the applications that it leads to."""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import aiohttp
from aiohttp import web
from envoy.config.cluster.v3 import cluster_pb2
from envoy.extensions.filters.network.http_connection_manager.v3 import (
    http_connection_manager_pb2 as hcm_pb2,
)

from mesh.agent import system_roots
from mesh.agent.state import StateDir
from mesh.envoy import cluster, http, listener
from mesh.envoy.endpoint import Group, prioritised
from mesh.envoy.proto import typed
from mesh.envoy.routes import NO_SENTENCES, Sentences, route_table
from mesh.model.destinations import Destination, Selection, Settings, Target
from mesh.model.requests import EVERYTHING
from mesh.model.services import Instance, Protocol
from mesh.model.traffic import Forward, Route, Share
from tests.identities import identities
from tests.realenvoy import bootstrap, running

HOST: Final = "127.0.0.1"
ZONE: Final = "dc1"
DOMAIN: Final = "td.example"
_PATIENCE: Final = 10.0
_POLL: Final = 0.005


@dataclass(frozen=True, slots=True)
class Seen:
    """A request as an application saw it; ``connection`` is the peer's port."""

    method: str
    path: str
    headers: Mapping[str, str]
    connection: int


class App:
    """An HTTP application that tells what it saw; tests say how it behaves."""

    def __init__(self, name: str) -> None:
        """Be ``name``, and answer 200 for now."""
        self.name = name
        self.port = 0
        self.status = 200
        self.next_answers: list[tuple[int, dict[str, str]]] = []
        """Status and headers of the next answers, before ``status`` holds again."""
        self.held = 0
        """How many of the next requests get no answer until :meth:`release`."""
        self.seen: list[Seen] = []
        self._released = asyncio.Event()
        server = web.Server(self._handle, access_log=None)
        self._runner = web.ServerRunner(server, shutdown_timeout=0.1)

    async def start(self, secure: ssl.SSLContext | None = None) -> App:
        """Listen: on a port of its own, and on that again if it was closed."""
        await self._runner.setup()
        await web.TCPSite(self._runner, HOST, self.port, ssl_context=secure).start()
        self.port = self._runner.addresses[0][1]
        return self

    async def close(self) -> None:
        """Stop listening and end what is open."""
        self.release()
        await self._runner.cleanup()

    def release(self) -> None:
        """Let held requests be answered."""
        self.held = 0
        self._released.set()
        self._released = asyncio.Event()

    def forget(self) -> None:
        """Answer 200 again, as if nobody had asked yet."""
        self.release()
        self.status = 200
        self.next_answers.clear()
        self.seen.clear()

    async def _handle(self, request: web.BaseRequest) -> web.Response:
        peer = request.transport.get_extra_info("peername")[1] if request.transport else 0
        self.seen.append(Seen(request.method, request.raw_path, request.headers, peer))
        if self.held:
            self.held -= 1
            await self._released.wait()
        status, headers = self.next_answers.pop(0) if self.next_answers else (self.status, {})
        content = {"content-type": "application/json"}
        body = json.dumps({"app": self.name})
        return web.Response(text=body, status=status, headers=content | headers)


@dataclass(frozen=True, slots=True)
class Answer:
    """What a client got."""

    status: int
    headers: Mapping[str, str]
    body: str

    @property
    def app(self) -> str:
        """Who answered: an application, or nobody but Envoy."""
        return self.body.split('"')[3] if '{"app"' in self.body else ""


class Place:
    """A running Envoy; every listener has a name."""

    def __init__(self, ports: Mapping[str, int], session: aiohttp.ClientSession) -> None:
        """Know the listeners' ports."""
        self.ports = ports
        self._session = session

    async def ask(
        self,
        listener_name: str,
        path: str = "/",
        *,
        method: str = "GET",
        headers: Mapping[str, str] | None = None,
        secure: ssl.SSLContext | None = None,
    ) -> Answer:
        """Send one request; the path goes as it is."""
        scheme = "http" if secure is None else "https"
        url = f"{scheme}://{HOST}:{self.ports[listener_name]}{path}"
        async with self._session.request(
            method, url, headers=headers, ssl=secure or True, allow_redirects=False
        ) as answer:
            return Answer(answer.status, answer.headers, await answer.text())

    async def settles(self, listener_name: str, *expected: str) -> None:
        """Ask until exactly ``expected`` (applications) answer, for a while."""
        found: dict[str, int] = {}
        for _ in range(500):
            found = await self.count(listener_name, 8)
            if set(found) == set(expected):
                return
            await asyncio.sleep(_POLL)
        raise AssertionError(f"expected answers of {expected}, last found {found}")

    async def count(self, listener_name: str, requests: int) -> dict[str, int]:
        """Send ``requests`` one after the other and count who answered (or with which status)."""
        found: dict[str, int] = {}
        for _ in range(requests):
            answer = await self.ask(listener_name)
            who = answer.app or str(answer.status)
            found[who] = found.get(who, 0) + 1
        return found


@asynccontextmanager
async def envoy(
    directory: Path, listeners: Sequence[Any], clusters: Sequence[Any]
) -> AsyncIterator[Place]:
    """Run Envoy with ``listeners`` and ``clusters`` in ``directory``."""
    state = StateDir(directory)
    system_roots.link(state)
    state.close()
    run = running(bootstrap(listeners, clusters), directory)
    # In a thread, because Envoy asks the applications of this loop before it listens.
    ports = await asyncio.to_thread(run.__enter__)
    try:
        for port in ports.values():
            await _listening(port)
        jar = aiohttp.DummyCookieJar()
        async with aiohttp.ClientSession(
            cookie_jar=jar, timeout=aiohttp.ClientTimeout(total=_PATIENCE)
        ) as session:
            yield Place(ports, session)
    finally:
        await asyncio.to_thread(run.__exit__, None, None, None)


async def _listening(port: int) -> None:
    """Wait until Envoy has what it needs to start, such as the first answers of probes and DNS."""
    for _ in range(round(_PATIENCE / _POLL)):
        try:
            _, writer = await asyncio.open_connection(HOST, port)
        except OSError:
            await asyncio.sleep(_POLL)
        else:
            writer.close()
            await writer.wait_closed()
            return
    raise AssertionError(f"envoy does not listen on {port}")


def table_listener(name: str, table: Any, *, cors: bool = False) -> Any:
    """Return a listener whose outbound manager holds ``table`` itself."""
    found = http.outbound_manager(name, route=name, cors=cors)
    manager = hcm_pb2.HttpConnectionManager()
    found.typed_config.Unpack(manager)
    manager.route_config.CopyFrom(table)
    found.typed_config.CopyFrom(typed(manager))
    return filter_listener(name, found)


def table_listeners(
    tables: Mapping[str, Sequence[Route]],
    *,
    refused: Sentences = NO_SENTENCES,
    missing: Sentences = NO_SENTENCES,
) -> list[Any]:
    """Return a listener for each of ``tables``, of the same name."""
    return [
        table_listener(
            name,
            route_table(name, routes, refused=refused, missing=missing),
            cors=any(route.cors is not None for route in routes),
        )
        for name, routes in tables.items()
    ]


def to_each(clusters: Sequence[Any]) -> dict[str, list[Route]]:
    """Return a table for each of ``clusters``, of the same name, that leads there."""
    return {
        each.name: [Route(EVERYTHING, Forward((Share(Target(each.name)),)))] for each in clusters
    }


def filter_listener(name: str, found: Any, transport: Any = None) -> Any:
    """Return a listener on a free port with the network filter ``found``."""
    return listener.listener(
        name,
        address=HOST,
        port=0,
        filters=[found],
        direction=listener.TrafficDirection.OUTBOUND,
        transport=transport,
    )


def plain(name: str, *apps: App, settings: Settings | None = None) -> Any:
    """Return the cluster of target ``name``: plain text to ``apps``."""
    destination = Destination(
        Selection(target(name)), Protocol.HTTP, settings if settings is not None else Settings()
    )
    built = with_endpoints(destination, [(instances(*apps), "")])
    built.ClearField("transport_socket")
    return built


def with_endpoints(destination: Destination, groups: Sequence[Group], name: str = "") -> Any:
    """Return the cluster of ``destination`` with its endpoints inside instead of over ADS."""
    built = of_destination(destination, name)
    built.ClearField("eds_cluster_config")
    built.type = cluster_pb2.Cluster.STATIC
    built.load_assignment.CopyFrom(prioritised(built.name, groups))
    return built


def of_destination(destination: Destination, name: str = "") -> Any:
    """Return the cluster of ``destination`` in this zone."""
    return cluster.of_destination(destination, identities(ZONE, DOMAIN), name=name)


def instances(*apps: App) -> list[Instance]:
    """Return where ``apps`` answer."""
    return [Instance(id=app.name, node="", address=HOST, port=app.port) for app in apps]


def target(name: str) -> Target:
    """Return the target whose name is ``name``."""
    subset, _, service = name.rpartition(".")
    return Target(service, subset)
