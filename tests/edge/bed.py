"""An estate with an edge gateway: real Consul 1.8.7, real OpenBao, and clients outside the mesh.

``api`` (HTTP) has two instances of version 1 and 2, ``web`` (HTTP) and ``store`` (TCP) one each;
``edge`` is the gateway, ``mesh gateway --edge`` as an operator starts it.
"""

from __future__ import annotations

import asyncio
import json
import os
import ssl
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import aiohttp

from mesh.agent.state import StateDir
from mesh.clients.consul import ConsulClient
from mesh.clients.consul.policies import Policies
from mesh.clients.consul.policy_records import Key, deletions, puts
from mesh.demo.estate import HOST, Estate, free_ports
from mesh.demo.processes import Child, start
from mesh.model.intentions import Action, Intention
from mesh.policies.document import DEFAULT_MESH, parse
from mesh.policies.registry import KINDS
from tests.agent.envoys import end_all
from tests.edge.vault import Vault
from tests.realconsul import RealConsul
from tests.traffic.applications import Application, http, line
from tests.traffic.waiting import until

EDGE: Final = {"kind": "Dataplane", "labels": {"service": "edge"}}
"""A ``targetRef``: the edge gateway."""
PORTS: Final = ("http", "https", "tcp", "tls", "spare")
"""The listeners' ports, by what the tests do there."""
_SERVICES: Final = {
    "api-1": ("api", "v1"),
    "api-2": ("api", "v2"),
    "web-1": ("web", "v1"),
    "store-1": ("store", "v1"),
}
_SUBSETS: Final = {name: {"Filter": f"Service.Meta.version == {name}"} for name in ("v1", "v2")}


@dataclass(frozen=True, slots=True)
class Answer:
    """What a client got."""

    status: int
    headers: Mapping[str, str]
    text: str

    @property
    def instance(self) -> str:
        """Who answered."""
        return self.headers.get("x-instance", "")

    @property
    def asked(self) -> dict[str, Any]:
        """What the application was asked."""
        found: dict[str, Any] = json.loads(self.text)
        return found


@dataclass
class Bed:
    """The running estate."""

    estate: Estate
    consul: ConsulClient
    vault: Vault
    apps: Mapping[str, Application]
    ports: Mapping[str, int]
    gateway: Child
    ready_port: int
    health_port: int
    state: Path
    begin: Callable[[], Awaitable[Child]]
    """Starts the gateway again."""
    _applied: set[Key] = field(default_factory=set)

    async def call(
        self,
        path: str = "/",
        *,
        host: str,
        port: str = "http",
        tls: ssl.SSLContext | None = None,
        headers: Mapping[str, str] | None = None,
        method: str = "GET",
    ) -> Answer:
        """Call as a client outside the mesh would; ``host`` is asked for, wherever it points."""
        scheme = "https" if tls is not None else "http"
        url = f"{scheme}://{HOST}:{self.ports[port]}{path}"
        connector = aiohttp.TCPConnector(force_close=True)
        async with (
            aiohttp.ClientSession(connector=connector) as session,
            session.request(
                method,
                url,
                headers={"host": host, **(headers or {})},
                ssl=tls if tls is not None else True,
                server_hostname=host if tls is not None else None,
                allow_redirects=False,
            ) as answer,
        ):
            return Answer(answer.status, answer.headers.copy(), await answer.text())

    async def answered(self, status: int, path: str = "/", **call: Any) -> Answer:
        """Call until the answer has ``status``."""
        last: list[object] = []

        async def ask() -> Answer | None:
            try:
                found = await self.call(path, **call)
            except (aiohttp.ClientError, OSError) as error:
                last[:] = [error]
                return None
            last[:] = [found]
            return found if found.status == status else None

        try:
            return await until(f"{path} is answered with {status}", ask)
        except AssertionError as error:
            raise AssertionError(f"{error}; the last was {last}") from error

    async def apply(self, *documents: Mapping[str, Any]) -> None:
        """Apply policies, waiting for nobody."""
        said = [parse(document, KINDS) for document in documents]
        self._applied |= {Key(one.mesh, one.kind, one.name) for one in said}
        store = Policies(self.consul)
        await store.commit(puts(await store.read(DEFAULT_MESH), [one.raw for one in said]))

    async def entry(self, *listeners: Mapping[str, Any], **fields: Any) -> None:
        """Write the ingress-gateway entry of ``edge``."""
        await self.consul.config_put(
            {"Kind": "ingress-gateway", "Name": "edge", "Listeners": list(listeners), **fields}
        )

    async def reset(self) -> None:
        """Leave the gateway with nothing to serve."""
        gone, self._applied = tuple(self._applied), set()
        store = Policies(self.consul)
        await store.commit(deletions(await store.read(DEFAULT_MESH), gone))
        await self.entry()

        async def closed() -> bool | None:
            for port in self.ports.values():
                try:
                    _, writer = await asyncio.open_connection(HOST, port)
                except OSError:
                    continue
                writer.close()
                return None
            return True

        await until("the gateway listens nowhere", closed, patience=30)
        for app in self.apps.values():
            app.reset()

    async def intention(self, action: Action, destination: str) -> None:
        """Say whether ``edge`` may call ``destination``."""
        await self.consul.intentions.put(Intention("edge", destination, action))

    async def restart(self) -> None:
        """Stop the gateway, its Envoy with it, and start it again."""
        await self.gateway.stop()
        self.gateway = await self.begin()

    async def readiness(self) -> str:
        """Return what the gateway says of itself."""
        async with (
            aiohttp.ClientSession() as session,
            session.get(f"http://{HOST}:{self.ready_port}/ready") as answer,
        ):
            return await answer.text()


def gateway(*listeners: Mapping[str, Any], name: str = "edge") -> dict[str, Any]:
    """Return a MeshGateway with ``listeners``."""
    spec = {"targetRef": EDGE, "listeners": [dict(one) for one in listeners]}
    return {"type": "MeshGateway", "name": name, "spec": spec}


@asynccontextmanager
async def made(directory: Path) -> AsyncIterator[Bed]:
    """Start everything; leaving ends it."""
    names = (*_SERVICES, *PORTS, "ready", "health")
    ports = dict(zip(names, free_ports(len(names)), strict=True))
    async with AsyncExitStack() as stack:
        consul_server = await stack.enter_async_context(
            RealConsul(directory, acls=True, default_policy="allow")
        )
        token = directory / "consul-token"
        token.write_text(consul_server.token)
        estate = await stack.enter_async_context(
            Estate(directory / "estate", consul=consul_server.url, consul_token=token)
        )
        vault = stack.enter_context(Vault.running(directory / "vault"))
        await estate.start_zone()
        consul = await stack.enter_async_context(estate.client())
        for service, protocol in (("api", "http"), ("web", "http"), ("store", "tcp")):
            await consul.config_put(
                {"Kind": "service-defaults", "Name": service, "Protocol": protocol}
            )
        await consul.config_put({"Kind": "service-resolver", "Name": "api", "Subsets": _SUBSETS})
        await consul.intentions.put(Intention("*", "*", Action.DENY))
        for service in ("api", "web", "store"):
            await consul.intentions.put(Intention("edge", service, Action.ALLOW))
        apps = {}
        for name, (service, version) in _SERVICES.items():
            serve = line if service == "store" else http
            apps[name] = await stack.enter_async_context(serve(Application(name, ports[name])))
            await estate.start_proxy(
                service,
                app_port=ports[name],
                instance=name,
                settings={"labels": {"version": version}},
            )
        begin, state = await _gateway(stack, estate, vault, ports)
        gate = await begin()
        await estate.ready()
        await gate.answers(f"http://{HOST}:{ports['ready']}/ready")
        served = {name: ports[name] for name in PORTS}
        yield Bed(
            *(estate, consul, vault, apps, served, gate),
            ready_port=ports["ready"],
            health_port=ports["health"],
            state=state,
            begin=begin,
        )


async def _gateway(
    stack: AsyncExitStack, estate: Estate, vault: Vault, ports: Mapping[str, int]
) -> tuple[Callable[[], Awaitable[Child]], Path]:
    token = estate.directory / "edge.join-token"
    await estate.mesh(["token", "create", "--service", "edge", "--out", str(token)])
    state = estate.directory / "edge"
    settings = estate.directory / "edge.yaml"
    settings.write_text(
        json.dumps(
            {
                "consul": {"url": estate.consul_url, "token_file": str(estate.consul_token_file)},
                "vault": {"refresh": 1},
                "concurrency": 2,
                "drain": 5,
            }
        )
    )

    def end() -> None:
        if state.is_dir():
            end_all(StateDir(state))

    stack.callback(end)
    command = [
        *(sys.executable, "-m", "mesh.cli", "gateway", "--edge", "--name", "edge"),
        *("--id", "edge-1", "--config", str(settings), "--zone-api", estate.zone_api),
        *("--join-token-file", str(token), "--state-dir", str(state), "--address", HOST),
        *("--port", str(ports["health"]), "--listen", f"{HOST}:{ports['ready']}"),
        *("--vault-address", vault.address),
        *("--vault-role-id-file", str(vault.role_id), "--vault-secret-id-file"),
        str(vault.secret_id),
    ]
    names = ("PATH", "HOME", "LANG")
    environment = {name: value for name in names if (value := os.getenv(name))}

    async def begin() -> Child:
        log = estate.directory / "edge.log"
        child = await start("edge", command, log=log, environment=environment)
        stack.push_async_callback(child.stop)
        return child

    return begin, state
