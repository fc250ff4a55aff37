"""A proxy's own side, by what it is for: a sidecar's, or a gateway's."""

from __future__ import annotations

from mesh.model.proxies import ProxyNeed, Role
from mesh.policies.selection import Selection
from mesh.render import plan
from mesh.render.gateways import edge, egress, zone
from mesh.routing.memo import Compositions
from mesh.world.snapshot import World


def own_side(world: World, need: ProxyNeed, said: Selection, known: Compositions) -> plan.Planned:
    """Choose the parts of ``need``, whom the policies ``said`` concern, beside its upstreams."""
    match need.role:
        case Role.ZONE_GATEWAY:
            return zone.gateway(world, need)
        case Role.EGRESS:
            return egress.egress(world, need)
        case Role.EDGE:
            return edge.gateway(world, need, said, known)
        case Role.SIDECAR:
            return plan.inbound(world, need, said, known)


def asked(world: World, need: ProxyNeed, said: Selection, known: Compositions) -> tuple[str, ...]:
    """Return the services that ``need`` calls of itself, upstreams left out."""
    if need.role is Role.EDGE:
        return edge.asked(world, need, said)
    return known.inbound(need.service, said).services if need.inbound else ()
