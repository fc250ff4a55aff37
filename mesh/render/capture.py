"""The capture side: captured connections of the application that go to no service of the mesh."""

from __future__ import annotations

from dataclasses import dataclass

from mesh.envoy.capture import CAPTURE, capture_listener, passthrough_cluster
from mesh.envoy.resource import Resource, pack
from mesh.model.passthrough import Passthrough
from mesh.model.proxies import Capture as Place
from mesh.model.proxies import ProxyNeed
from mesh.policies import defaults
from mesh.policies.kinds import passthrough
from mesh.policies.selection import Selection
from mesh.render.parts import Part
from mesh.world.snapshot import World


@dataclass(frozen=True, slots=True)
class Capture(Part):
    """The capture listener of a proxy of ``service``, and the cluster of what passes."""

    service: str
    place: Place
    passthrough: Passthrough

    def render(self, world: World) -> tuple[Resource, ...]:  # noqa: ARG002 the key says it all
        """Return the listener, and the cluster if anything passes."""
        place = self.place
        built = capture_listener(self.service, place.address, place.port, self.passthrough)
        cluster = passthrough_cluster(self.passthrough)
        clusters = () if cluster is None else (pack(cluster.name, cluster),)
        return (pack(CAPTURE, built), *clusters)


def captured(need: ProxyNeed, said: Selection) -> tuple[Part, ...]:
    """Return the part of the capture side of ``need``, if it captures anything."""
    if need.capture is None:
        return ()
    passing = passthrough.passthrough(said.of(passthrough.KIND.name)) or defaults.PASSTHROUGH
    return (Capture(need.service, need.capture, passing),)
