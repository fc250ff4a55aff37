"""A small estate that a test may break: ``web`` calls ``api`` (two versions) and ``other``.

Traffic is managed in every way at once (:func:`manage`); ``steady`` calls, and says of each answer
whether it is what was asked for.
"""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import aiohttp

from mesh.agent.state import StateDir
from mesh.agent.supervisor import LAST_GOOD
from mesh.clients.consul import ConsulClient
from mesh.clients.consul.policies import Policies
from mesh.clients.consul.policy_records import Key, deletions, puts
from mesh.clients.zone import ZoneAddress, ZoneClient
from mesh.demo.estate import HOST, Estate, free_ports
from mesh.demo.processes import start
from mesh.model.intentions import Action, Intention
from mesh.policies.document import parse
from mesh.policies.registry import KINDS
from tests.agent.envoys import end_all
from tests.traffic.applications import Application, http
from tests.traffic.callee import at, rules
from tests.traffic.calls import Answer
from tests.traffic.documents import http_route, policy
from tests.traffic.services import SUBSETS
from tests.traffic.waiting import until

SPLIT: Final = {"api-1": 0.75, "api-2": 0.25}
"""Who answers ``/split``, and how often."""
_INSTANCES: Final = {"api-1": ("api", "v1"), "api-2": ("api", "v2"), "other-1": ("other", "v1")}


@dataclass(slots=True)
class Small:
    """The running estate."""

    estate: Estate
    consul: ConsulClient
    session: aiohttp.ClientSession
    apps: Mapping[str, Application]
    stack: AsyncExitStack

    async def call(self, path: str = "/", *, service: str = "api") -> Answer:
        """Call as ``web``'s application would."""
        url = f"http://{HOST}:{self.estate.services['web'].upstreams[service]}{path}"
        began = time.monotonic()
        async with self.session.get(url) as answer:
            text = await answer.text()
            found = await answer.json() if answer.content_type == "application/json" else {}
            took = time.monotonic() - began
            return Answer(answer.status, answer.headers.copy(), text, found, took)

    async def answered(self, status: int, path: str = "/", *, service: str = "api") -> Answer:
        """Call until the answer has ``status``."""

        async def ask() -> Answer | None:
            found = await self.call(path, service=service)
            return found if found.status == status else None

        return await until(f"{path} of {service} is answered with {status}", ask)

    async def commit(
        self, *documents: Mapping[str, Any], gone: tuple[tuple[str, str], ...] = ()
    ) -> None:
        """Apply and delete policies, waiting for nobody."""
        store = Policies(self.consul)
        held = await store.read("default")
        keys = [Key("default", *key) for key in gone]
        wanted = [parse(document, KINDS).raw for document in documents]
        await store.commit([*puts(held, wanted), *deletions(held, keys)])

    async def ask(self, zone: Estate | None = None) -> Mapping[str, Mapping[str, Any]]:
        """Return what a zone says of its proxies, by id."""
        async with self.zone(zone) as client:
            return {one["id"]: one for one in (await client.proxies())["proxies"]}

    @asynccontextmanager
    async def zone(self, zone: Estate | None = None) -> AsyncIterator[ZoneClient]:
        """Speak to a zone's API."""
        chosen = zone or self.estate
        host, _, port = chosen.zone_api.rpartition(":")
        address = ZoneAddress(host, int(port), chosen.bundle_file)
        async with ZoneClient(address, chosen.admin_token_file.read_text().strip()) as client:
            yield client

    async def in_sync(self, *zones: Estate) -> None:
        """Wait until zones have all proxies between them, and each has taken everything."""

        async def ready() -> bool | None:
            found: dict[str, Mapping[str, Any]] = {}
            for zone in zones or (self.estate,):
                found |= await self.ask(zone)
            complete = len(found) == len(self.estate.services)
            return True if complete and all(one["in_sync"] for one in found.values()) else None

        await until("every proxy is in sync", ready, patience=30)

    async def nacks(self, zone: Estate | None = None) -> int:
        """Return how often proxies refused something."""
        found = await self.ask(zone)
        return sum(kind["nacks"] for one in found.values() for kind in one["types"])

    async def versions(self, zone: Estate | None = None) -> dict[str, dict[tuple[str, str], str]]:
        """Return the version of every resource that a zone's proxies have, by proxy."""
        found = {}
        for proxy in await self.ask(zone):
            async with self.zone(zone) as client:
                config = await client.proxy_config(proxy)
            found[proxy] = {
                (kind, each["name"]): each["version"]
                for kind, listed in config["resources"].items()
                for each in listed
            }
        return found

    async def clusters(self, service: str, *zones: Estate) -> dict[str, dict[str, Any]]:
        """Return the clusters that the proxy of ``service`` was sent, by name."""
        proxy = f"{service}/{service}-1"
        for zone in zones or (self.estate,):
            if proxy in await self.ask(zone):
                async with self.zone(zone) as client:
                    listed = (await client.proxy_config(proxy))["resources"]
                return {
                    each["name"]: each["content"]
                    for kind, found in listed.items()
                    if kind.endswith(".Cluster")
                    for each in found
                }
        return {}

    async def has(self, versions: Mapping[str, Any], *zones: Estate) -> None:
        """Wait until ``zones`` say exactly ``versions``."""

        async def ask() -> bool | None:
            found: dict[str, Any] = {}
            for zone in zones:
                found |= await self.versions(zone)
            return True if found == versions else None

        await until("everything is as it was", ask)

    async def changes(self) -> Counter[str]:
        """Return how often each proxy added, replaced or dropped a listener or a cluster."""
        found: Counter[str] = Counter()
        for name, service in self.estate.services.items():
            url = f"http://{HOST}:{service.ready_port}/metrics"
            async with self.session.get(url) as answer:
                for line in (await answer.text()).splitlines():
                    if line.startswith(_CHANGES):
                        metric, _, value = line.rpartition(" ")
                        found[f"{name} {metric}"] = int(float(value))
            # What never happened is not told; each has added something, at least.
            assert any(each.startswith(f"{name} ") for each in found)
        return found

    async def crash_proxies(self) -> None:
        """Kill every agent and every Envoy."""
        for service in self.estate.services.values():
            await service.child.kill()
            state = StateDir(service.state)
            end_all(state)
            state.close()

    async def restart_proxies(self) -> None:
        """Start every agent again, as systemd would."""
        path = os.pathsep.join((str(Path(sys.executable).parent), os.defpath))
        environment = {"PATH": path, "HOME": str(self.estate.directory)}
        for name, service in self.estate.services.items():
            config = self.estate.directory / f"{name}.yaml"
            command = [sys.executable, "-m", "mesh.cli", "proxy", "--config", str(config)]
            log = self.estate.directory / "logs" / f"{name}.log"
            child = await start(name, command, log=log, environment=environment)
            self.stack.push_async_callback(child.stop)
            self.estate.services[name] = replace(service, child=child)

    def recorded(self, name: str) -> str:
        """Return the last known good configuration of a proxy."""
        file = self.estate.services[name].state / LAST_GOOD
        return file.read_text() if file.exists() else ""


_CHANGES: Final = (
    "envoy_listener_manager_listener_added",
    "envoy_cluster_manager_cluster_added",
    "envoy_listener_manager_listener_removed",
    "envoy_listener_manager_listener_modified",
    "envoy_cluster_manager_cluster_removed",
    "envoy_cluster_manager_cluster_modified",
)


@asynccontextmanager
async def made(estate: Estate, settings: Mapping[str, Any] | None = None) -> AsyncIterator[Small]:
    """Start the services on ``estate``; ``settings`` are laid over those of each proxy."""
    ports = dict(zip((*_INSTANCES, "web"), free_ports(len(_INSTANCES) + 1), strict=True))
    more = settings or {}
    async with AsyncExitStack() as stack:
        consul = await stack.enter_async_context(estate.client())
        for service in ("api", "other"):
            await consul.config_put(
                {"Kind": "service-defaults", "Name": service, "Protocol": "http"}
            )
            await consul.intentions.put(Intention("web", service, Action.ALLOW))
        apps = {
            name: await stack.enter_async_context(http(Application(name, ports[name])))
            for name in _INSTANCES
        }
        quiet = {"health": {"kind": "none"}}
        await asyncio.gather(
            *(
                estate.start_proxy(
                    service,
                    app_port=ports[name],
                    instance=name,
                    settings={**more, "labels": {"version": version}},
                )
                for name, (service, version) in _INSTANCES.items()
            ),
            estate.start_proxy(
                "web",
                app_port=ports["web"],
                upstreams=("api", "other"),
                settings={**more, **quiet},
            ),
        )
        await estate.ready()
        session = await stack.enter_async_context(aiohttp.ClientSession())
        yield Small(estate, consul, session, apps, stack)


async def manage(small: Small, zones: Sequence[Estate] = ()) -> None:
    """Put entries and policies in place, and wait until each holds.

    The proxies may be those of any of ``zones``.
    """
    await small.consul.config_put({"Kind": "service-resolver", "Name": "api", "Subsets": SUBSETS})
    rewritten = {
        "Match": {"HTTP": {"PathExact": "/entry"}},
        "Destination": {"Service": "api", "PrefixRewrite": "/rewritten"},
    }
    await small.consul.config_put({"Kind": "service-router", "Name": "api", "Routes": [rewritten]})
    split = """
    - matches: [{path: {type: PathPrefix, value: /split}}]
      default:
        backendRefs:
          - {kind: MeshService, name: api, subset: v1, weight: 75}
          - {kind: MeshService, name: api, subset: v2, weight: 25}
    """
    one_an_hour = "{local: {http: {requestRate: {num: 1, interval: 1h}}}}"
    await small.commit(
        http_route(split),
        rules("MeshRateLimit", at("/limited", one_an_hour)),
        rules("MeshRequestAuthentication", at("/users", "{providers: [nobody]}")),
    )
    await small.answered(403, "/users")
    await small.in_sync(*zones)
    # Other connections: what is open still goes through the former filters, for seconds.
    await small.commit(policy("MeshTimeout", "{connectionTimeout: 4s}"))

    async def renewed() -> bool | None:
        found = await small.clusters("web", *zones)
        return True if found["api"].get("connect_timeout") == "4s" else None

    await until("the caller has the timeout", renewed)
    await small.in_sync(*zones)
    await used_up(small)

    async def whole() -> bool | None:
        entry = await small.call("/entry")
        found = {(await small.call("/split")).instance for _ in range(30)}
        rewritten = entry.status == 200 and entry.json["path"] == "/rewritten"
        return True if rewritten and found == set(SPLIT) else None

    await until("entries and policies hold", whole)
    await small.in_sync(*zones)


async def used_up(small: Small) -> int:
    """Call until both instances let no more through ``/limited``; return how many passed."""
    passed = 0

    async def ask() -> bool | None:
        nonlocal passed
        found = [(await small.call("/limited")).status for _ in range(10)]
        passed += found.count(200)
        return True if set(found) == {429} else None

    await until("the limit holds", ask)
    return passed


@asynccontextmanager
async def embedded(directory: Path) -> AsyncIterator[Small]:
    """Start an estate whose registry is the zone's own."""
    async with Estate(directory) as estate:
        await estate.start_zone()
        async with made(estate) as small:
            yield small
