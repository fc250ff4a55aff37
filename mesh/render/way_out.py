"""How a call leaves the zone by its egress gateways: for whom it asks there, and who judges it."""

from __future__ import annotations

from dataclasses import dataclass

from mesh.model.destinations import Destination, Selection
from mesh.model.names import ZONE_EGRESS
from mesh.model.services import Health
from mesh.routing.egress import found_outside, leaving
from mesh.routing.instances import selected
from mesh.world.snapshot import World


@dataclass(frozen=True, slots=True)
class Exit:
    """A way out.

    ``server_name`` is asked for at the gateways; ``hosts`` is where an external service is as far
    as that is known here.  ``warning`` says why the way is closed; it is empty if it is open.
    """

    server_name: str
    judge: str
    hosts: tuple[str, ...] = ()
    warning: str = ""


def way_out(world: World, destination: Destination) -> Exit | None:
    """Return by which way calls to ``destination`` leave, or turn to another zone.

    None if they do not leave by egress.
    """
    selection = next((one for one in destination.selections if one.by_egress), None)
    if selection is None:
        return None
    target = selection.target
    who = world.identity(target.service, target.elsewhere)
    name = who.server_name(target.subset)
    warning = _warning(world, selection)
    if target.elsewhere:
        judge = f"the proxy of {target.service} in zone {target.elsewhere}"
        return Exit(name, judge, warning=warning)
    one = leaving(world, target.service)
    external = found_outside(world, one, selection)[0] if one is not None else None
    hosts = external.hosts if external is not None else ()
    return Exit(
        name,
        "the egress gateway",
        tuple(f"{host.address}:{host.port}" for host in hosts),
        warning,
    )


def _warning(world: World, selection: Selection) -> str:
    gateways = world.instances.get(ZONE_EGRESS, ())
    if not any(one.health is not Health.CRITICAL for one in gateways):
        return (
            f"no egress gateway answers in zone {world.zone}, and calls may leave by no other "
            "way: start `mesh gateway --egress`"
        )
    if not selected(world, selection):
        target = selection.target
        return f"nobody answers for {target.service} in zone {target.elsewhere}"
    return ""
