"""The capture side: connections of the application that were redirected to its proxy, and names.

A service whose virtual address may be called has a door: a part that renders nothing by itself, as
all doors of a proxy are filter chains of one listener.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from mesh.envoy import capture as envoy
from mesh.envoy import http
from mesh.envoy.capture import CAPTURE, passthrough_cluster
from mesh.envoy.names import NAMES, names_listener
from mesh.envoy.resource import Resource, pack
from mesh.model import vips
from mesh.model.passthrough import Passthrough
from mesh.model.proxies import Capture as Place
from mesh.model.proxies import ProxyNeed
from mesh.model.traffic import Traffic
from mesh.policies import defaults
from mesh.policies.kinds import passthrough
from mesh.policies.selection import Selection
from mesh.render.outbound import Refusals, forwarding
from mesh.render.parts import Part, Same
from mesh.world.facets import Aspect, Facet
from mesh.world.snapshot import World


@dataclass(frozen=True, slots=True)
class HttpDoor(Part):
    """Where captured calls of an HTTP service are told apart; its routes are another part."""

    called: str
    cors: bool = False

    def render(self, world: World) -> tuple[Resource, ...]:  # noqa: ARG002 the listener's affair
        """Return nothing."""
        return ()

    def filter(self) -> Any:
        """Return the filter that its connections meet."""
        return http.outbound_manager(self.called, route=self.called, cors=self.cors)


@dataclass(frozen=True, slots=True)
class TcpDoor(Part):
    """Where captured connections to a TCP service go on."""

    called: str
    traffic: Same[Traffic]
    refused: Refusals

    def render(self, world: World) -> tuple[Resource, ...]:  # noqa: ARG002 the listener's affair
        """Return nothing."""
        return ()

    def filter(self) -> Any:
        """Return the filter that its connections meet."""
        return forwarding(self.called, self.traffic.value, self.refused)


Door = HttpDoor | TcpDoor


@dataclass(frozen=True, slots=True)
class Capture(Part):
    """The capture listener of a proxy of ``service``, and the cluster of what passes."""

    service: str
    place: Place
    passthrough: Passthrough
    doors: tuple[Door, ...]

    def reads(self) -> tuple[Facet, ...]:
        """The addresses of the doors."""
        return (Facet(Aspect.VIRTUAL_ADDRESSES),)

    def render(self, world: World) -> tuple[Resource, ...]:
        """Return the listener, and the cluster if anything passes."""
        built = envoy.capture_listener(
            self.service,
            self.place,
            self.passthrough,
            doors=[
                envoy.Door(door.filter(), world.virtual_addresses[door.called])
                for door in self.doors
                if door.called in world.virtual_addresses
            ],
            virtual=(vips.IPV4, vips.ipv6_block(world.trust_domain)),
        )
        cluster = passthrough_cluster(self.passthrough)
        clusters = () if cluster is None else (pack(cluster.name, cluster),)
        return (pack(CAPTURE, built), *clusters)


@dataclass(frozen=True, slots=True)
class Names(Part):
    """Where the application asks for services by name.

    All of the zone are there, as they are in Consul's own DNS: who may not call a service is told
    so when he does.
    """

    place: Place

    def reads(self) -> tuple[Facet, ...]:
        """All virtual addresses."""
        return (Facet(Aspect.VIRTUAL_ADDRESSES),)

    def render(self, world: World) -> tuple[Resource, ...]:
        """Return the listener."""
        table: dict[str, tuple[str, ...]] = {}
        for service, addresses in sorted(world.virtual_addresses.items()):
            for name in (service, service.lower()):
                table.setdefault(f"{name}.{vips.DOMAIN}", addresses)
                table.setdefault(f"{name}.{world.zone}.{vips.DOMAIN}", addresses)
        return (pack(NAMES, names_listener(self.place, table)),)


def captured(need: ProxyNeed, said: Selection, doors: Iterable[Door]) -> tuple[Part, ...]:
    """Return the parts of the capture side of ``need``, with ``doors``, if it captures anything."""
    parts: list[Part] = []
    if need.capture is not None:
        passing = passthrough.passthrough(said.of(passthrough.KIND.name)) or defaults.PASSTHROUGH
        parts.append(Capture(need.service, need.capture, passing, tuple(doors)))
    if need.dns is not None:
        parts.append(Names(need.dns))
    return tuple(parts)
