"""What the zone says when it is asked: of policies, of calls, of its proxies."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import yaml

from mesh.clients.zone import ZoneAddress, ZoneClient
from mesh.demo.estate import Estate
from mesh.policies.document import Document, parse
from mesh.policies.registry import KINDS
from tests.traffic.waiting import until

T = TypeVar("T")


@dataclass
class Questions:
    """Questions to the zone of the estate."""

    estate: Estate

    async def problems(self) -> list[Mapping[str, Any]]:
        """Return what the zone says is wrong with what Consul holds."""
        found = await self._zone(lambda zone: zone.problems())
        return list(found["problems"])

    async def dry_run(
        self, *documents: str | Mapping[str, Any], delete: Sequence[tuple[str, str]] = ()
    ) -> Mapping[str, Any]:
        """Return what the zone says would change."""
        raw = [read(document).raw for document in documents]
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

    async def in_sync(self) -> None:
        """Wait until every proxy has acknowledged the newest of everything."""

        async def ask() -> bool | None:
            found = await self._zone(lambda zone: zone.proxies())
            return True if all(one["in_sync"] for one in found["proxies"]) else None

        await until("every proxy is in sync", ask)

    async def _zone(self, ask: Callable[[ZoneClient], Awaitable[T]]) -> T:
        host, _, port = self.estate.zone_api.rpartition(":")
        address = ZoneAddress(host, int(port), self.estate.bundle_file)
        token = self.estate.admin_token_file.read_text().strip()
        async with ZoneClient(address, token) as zone:
            return await ask(zone)


def ports_of(assignment: Mapping[str, Any]) -> set[int]:
    """Return the ports of a ClusterLoadAssignment's endpoints."""
    return {
        each["endpoint"]["address"]["socket_address"]["port_value"]
        for group in assignment.get("endpoints", ())
        for each in group.get("lb_endpoints", ())
    }


def read(document: str | Mapping[str, Any]) -> Document:
    """Read a policy: YAML, or already decoded."""
    raw = yaml.safe_load(document) if isinstance(document, str) else document
    return parse(raw, KINDS)
