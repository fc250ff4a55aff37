"""Which parts a proxy has, from how calls travel and what is allowed.

The inbound side, and each upstream, is planned as a whole: while the instances of any service
that its calls may end at are not known, there is no plan, and whoever had one keeps it.
"""

from __future__ import annotations

from collections.abc import Iterator

from mesh.model.destinations import Destination, Target
from mesh.model.proxies import ProxyNeed, Upstream
from mesh.model.traffic import Forward, Traffic
from mesh.policies.intentions.matching import Call
from mesh.policies.intentions.verdict import can_connect, judge
from mesh.policies.selection import Selection
from mesh.render.capture import Door, HttpDoor, TcpDoor
from mesh.render.inbound import Inbound
from mesh.render.outbound import (
    Cluster,
    Endpoints,
    HttpListener,
    Refusals,
    Roots,
    RouteTable,
    TcpListener,
)
from mesh.render.parts import Part, Same
from mesh.render.scope import Captured
from mesh.routing.memo import Compositions
from mesh.world.snapshot import World

Plan = tuple[Part, ...]
"""Parts, each once."""
Planned = tuple[Plan, frozenset[str]]
"""A plan, and the services whose instances it needs."""


def inbound(world: World, need: ProxyNeed, said: Selection, known: Compositions) -> Planned:
    """Choose the parts of the inbound side of ``need``, whom the policies ``said`` concern.

    A policy may have the proxy itself call a service of the mesh, to count or to decide; such a
    call needs an intention as any other.
    """
    if need.inbound is None:
        return (), frozenset()
    traffic = known.inbound(need.service, said)
    parts: dict[Part, None] = {Inbound(need.service, need.inbound, Same(traffic)): None}
    services: set[str] = set()
    for service in traffic.services:
        compiled = known.traffic(need.service, said, service)
        asked = compiled.traffic
        services |= compiled.services
        denied = {target for target, _ in refusals(world, need.service, asked)}
        action = asked.routes[-1].action
        shares = action.shares if isinstance(action, Forward) else ()
        for target in [share.target for share in shares if share.target not in denied][:1]:
            parts.update(dict.fromkeys(reached(world, asked.destinations[target], need, service)))
    return tuple(parts), frozenset(services)


def outbound(
    world: World, need: ProxyNeed, upstream: Upstream | Captured, traffic: Traffic
) -> Plan:
    """Choose the parts by which ``need`` reaches ``upstream``, whose calls go as in ``traffic``.

    What is captured has a door in the place of a listener of its own.
    """
    refused = refusals(world, need.service, traffic)
    same = Same(traffic)
    parts: dict[Part, None] = {}
    parts[_beginning(upstream, same, refused)] = None
    if traffic.protocol.is_http:
        parts[RouteTable(upstream.called, same, refused)] = None
    denied = {target for target, _ in refused}
    for target, destination in traffic.destinations.items():
        if target not in denied:
            parts.update(dict.fromkeys(reached(world, destination, need)))
    return tuple(parts)


def _beginning(
    upstream: Upstream | Captured, traffic: Same[Traffic], refused: Refusals
) -> HttpListener | TcpListener | Door:
    is_http = traffic.value.protocol.is_http
    cors = any(route.cors is not None for route in traffic.value.routes)
    if isinstance(upstream, Upstream):
        if is_http:
            return HttpListener(upstream, cors=cors)
        return TcpListener(upstream, traffic, refused)
    if is_http:
        return HttpDoor(upstream.called, cors=cors)
    return TcpDoor(upstream.called, traffic, refused)


def reached(
    world: World, destination: Destination, need: ProxyNeed, name: str = ""
) -> Iterator[Part]:
    """Yield the parts by which ``destination`` is reached, under ``name`` or its own."""
    named, same = name or destination.target.name, Same(destination)
    yield from map(Roots, destination.zones)
    yield Cluster(named, same)
    if destination.external is None:
        balancing = destination.settings.balancing
        near = need.locality if balancing.local_first else ""
        keys = {one.key for one in balancing.affinity}
        labels = tuple(one for one in need.labels if one[0] in keys)
        yield Endpoints(named, same, near, shut_out(world, need.service, destination), labels)


def may_reach(world: World, caller: str, destination: Destination) -> bool:
    """Say whether proxies of ``caller`` are let through to ``destination`` at all.

    What turns on the request the callee's proxy judges.  Outside the mesh there is none: there
    only what is allowed whatever is asked goes through.  Who may call what in a peer the peer alone
    says: our intentions speak of our own services.
    """
    if world.is_peer(destination.target.elsewhere):
        return True
    service, protocol = destination.target.service, destination.protocol
    if destination.external is not None:
        call = Call(caller, service, protocol)
        return judge(world.intentions, call, default_allow=world.default_allow).allowed
    return can_connect(
        world.intentions, caller, service, protocol, default_allow=world.default_allow
    )


def shut_out(world: World, caller: str, destination: Destination) -> tuple[str, ...]:
    """Return to whom ``destination`` fails over though ``caller`` may not call them."""
    failover = [one.target for one in destination.failover]
    others = {one.service for one in failover if not world.is_peer(one.elsewhere)}
    others -= {destination.target.service}
    return tuple(
        sorted(
            service
            for service in others
            if not can_connect(
                world.intentions,
                caller,
                service,
                destination.protocol,
                default_allow=world.default_allow,
            )
        )
    )


def refusals(world: World, caller: str, traffic: Traffic) -> Refusals:
    """Return the targets of ``traffic`` that ``caller`` may not call, each with the sentence."""
    allowed: dict[tuple[str, bool], bool] = {}
    found = []
    for target, destination in traffic.destinations.items():
        service = target.service, world.is_peer(target.elsewhere)
        if service not in allowed:
            allowed[service] = may_reach(world, caller, destination)
        if not allowed[service]:
            found.append((target, _sentence(world, caller, target, destination)))
    return tuple(found)


def _sentence(world: World, caller: str, target: Target, destination: Destination) -> str:
    service = target.service
    call = Call(caller, service, destination.protocol)
    verdict = judge(world.intentions, call, default_allow=world.default_allow)
    reason = verdict.reason
    if verdict.conditional:
        reason += ", which nobody outside the mesh judges"
    return (
        f"mesh: {caller} may not call {service} in zone {world.zone}: {reason}. "
        f"To allow it: mesh intention allow {caller} {service}"
    )
