"""Policies of the callee's side, and what its own proxies call: limiters and authorizers."""

from __future__ import annotations

import asyncio
import json
import sys
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import yaml
from aiohttp import web
from envoy.service.auth.v3 import external_auth_pb2

from mesh.demo.estate import HOST, free_ports
from mesh.demo.processes import Child, start
from mesh.model.intentions import Action, Intention
from tests.traffic.bed import Bed
from tests.traffic.calls import Answer
from tests.traffic.services import INSTANCES
from tests.traffic.waiting import until

_CHECK = "envoy.service.auth.v3.Authorization"
_FORBIDDEN = 403
_NO_CHECK = {"kind": "none"}


def rules(
    kind: str, what: str, *, service: str = "api", name: str = "policy", **labels: str
) -> dict[str, Any]:
    """Return a policy of the ``rules`` in ``what`` (YAML) for the proxies of ``service``."""
    proxies = {"kind": "Dataplane", "labels": {"service": service, **labels}}
    return {
        "type": kind,
        "name": name,
        "spec": {"targetRef": proxies, "rules": yaml.safe_load(what)},
    }


def always(kind: str, conf: str, **more: Any) -> dict[str, Any]:
    """Return a policy with one rule, which says ``conf`` (YAML) of every request."""
    return rules(kind, json.dumps([{"default": yaml.safe_load(conf)}]), **more)


def at(path: str, conf: str) -> str:
    """Return ``rules`` (YAML) with one that says ``conf`` of requests to ``path``.

    While policies settle the bed itself calls ``api``; such a rule does not count that.
    """
    return f"- {{matches: [{{path: {{type: PathPrefix, value: {path}}}}}], default: {conf}}}"


async def statuses(bed: Bed, count: int, path: str = "/", **options: Any) -> list[int]:
    """Make ``count`` calls, one after the other."""
    return [(await bed.call(path, **options)).status for _ in range(count)]


async def answered(bed: Bed, status: int, path: str = "/", **options: Any) -> Answer:
    """Call until the answer has ``status``, and return it."""

    async def ask() -> Answer | None:
        found = await bed.call(path, **options)
        return found if found.status == status else None

    return await until(f"{path} is answered with {status}", ask)


async def asking(bed: Bed, service: str, policy: Mapping[str, Any]) -> None:
    """Apply ``policy``, by which ``api`` asks ``service``, and wait until its proxies can."""
    await bed.apply(policy)

    async def told() -> bool | None:
        for instance, (name, _, _) in INSTANCES.items():
            if name == "api":
                found = await bed.resources("api", "ClusterLoadAssignment", instance=instance)
                if not found.get(service, {}).get("endpoints"):
                    return None
        return True

    await until(f"api knows where {service} is", told)
    await bed.in_sync()
    await bed.renew()


@asynccontextmanager
async def sidecar(bed: Bed, service: str, protocol: str, port: int) -> AsyncIterator[None]:
    """Run a proxy in front of ``port`` as the service ``service``, which ``api`` may call."""
    await bed.consul.config_put({"Kind": "service-defaults", "Name": service, "Protocol": protocol})
    await bed.consul.intentions.put(Intention("api", service, Action.ALLOW))
    found = await bed.estate.start_proxy(service, app_port=port, settings={"health": _NO_CHECK})
    try:
        await bed.estate.ready(service)
        yield
    finally:
        del bed.estate.services[service]
        await found.child.stop()
        await bed.consul.intentions.delete("api", service)
        await bed.consul.config_delete("service-defaults", service)


@dataclass(slots=True)
class Limiter:
    """``mesh ratelimit run`` behind a proxy of its own, as the service ``ratelimit``."""

    directory: Path
    places: tuple[int, int] = field(default_factory=lambda: (free_ports(2)[0], free_ports(2)[1]))
    child: Child | None = None

    async def run(self, **settings: Any) -> None:
        """Start it (again) with ``settings``; without any it counts in memory."""
        await self.end()
        rpc, health = self.places
        listen = {"grpc": f"{HOST}:{rpc}", "health": f"{HOST}:{health}"}
        config = self.directory / "ratelimit.yaml"
        config.write_text(json.dumps({"listen": listen, **settings}))
        command = [sys.executable, "-m", "mesh.cli", "ratelimit", "run", "--config", str(config)]
        home = {"HOME": str(self.directory)}
        self.child = await start(
            "ratelimit", command, log=self.directory / "ratelimit.log", environment=home
        )
        await self.child.answers(f"http://{HOST}:{health}/ready")

    async def end(self) -> None:
        """Kill it; twice is no harm."""
        if self.child is not None:
            await self.child.kill()


@asynccontextmanager
async def limiting(bed: Bed, directory: Path) -> AsyncIterator[Limiter]:
    """Run the rate limit service."""
    limiter = Limiter(directory)
    try:
        await limiter.run()
        async with sidecar(bed, "ratelimit", "grpc", limiter.places[0]):
            yield limiter
    finally:
        await limiter.end()


@dataclass(slots=True)
class Authorizer:
    """An authorization service, over gRPC (``authz``) and over HTTP (``gatekeeper``).

    It lets those pass whose header ``x-pass`` is ``yes``, and tells the application the user;
    others learn its reasons.
    """

    seen: Counter[str] = field(default_factory=Counter)
    """The paths that were asked about."""
    headers: Mapping[str, str] = field(default_factory=dict)
    """Those of the latest question."""
    body: str = ""
    _serving: AsyncExitStack = field(default_factory=AsyncExitStack)
    ports: tuple[int, ...] = ()

    async def start(self) -> None:
        """Listen, on the same ports as before."""
        self.ports = self.ports or tuple(free_ports(2))
        server = grpc.aio.server()
        check = grpc.unary_unary_rpc_method_handler(
            self._check,
            request_deserializer=external_auth_pb2.CheckRequest.FromString,
            response_serializer=external_auth_pb2.CheckResponse.SerializeToString,
        )
        handlers = grpc.method_handlers_generic_handler(_CHECK, {"Check": check})
        server.add_generic_rpc_handlers((handlers,))
        server.add_insecure_port(f"{HOST}:{self.ports[0]}")
        await server.start()
        self._serving.push_async_callback(server.stop, None)
        application = web.Application()
        application.router.add_route("*", "/{path:.*}", self._answer)
        runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.1)
        await runner.setup()
        self._serving.push_async_callback(runner.cleanup)
        await web.TCPSite(runner, HOST, self.ports[1]).start()

    async def stop(self) -> None:
        """Stop listening."""
        await self._serving.aclose()

    def _asked(self, path: str, headers: Mapping[str, str], body: str) -> bool:
        self.seen[path] += 1
        self.headers, self.body = headers, body
        return headers.get("x-pass") == "yes"

    async def _check(self, request: Any, _context: Any) -> Any:
        asked = request.attributes.request.http
        result = external_auth_pb2.CheckResponse()
        if self._asked(asked.path, dict(asked.headers), asked.body):
            _header(result.ok_response.headers.add().header, "x-user", "ann")
        else:
            result.status.code = grpc.StatusCode.PERMISSION_DENIED.value[0]
            result.denied_response.status.code = 402
            result.denied_response.body = "authz: pay first"
            _header(result.denied_response.headers.add().header, "x-why", "unpaid")
        return result

    async def _answer(self, request: web.Request) -> web.Response:
        headers = {key.lower(): value for key, value in request.headers.items()}
        if self._asked(request.path, headers, await request.text()):
            return web.Response(headers={"x-user": "ann", "x-other": "hidden"})
        return web.Response(status=451, text="gatekeeper: not here", headers={"x-why": "law"})


def _header(into: Any, key: str, value: str) -> None:
    into.key, into.value = key, value


@asynccontextmanager
async def authorizing(bed: Bed) -> AsyncIterator[Authorizer]:
    """Run the authorization service."""
    authorizer = Authorizer()
    await authorizer.start()
    async with AsyncExitStack() as stack:
        stack.push_async_callback(authorizer.stop)
        rpc, http = authorizer.ports
        both = sidecar(bed, "authz", "grpc", rpc), sidecar(bed, "gatekeeper", "http", http)
        await asyncio.gather(*(stack.enter_async_context(one) for one in both))
        yield authorizer
