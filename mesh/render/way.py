"""The whole way of one call: which route it takes, where that may end, what meets it there.

Nothing is decided here that proxies decide otherwise: the same compositions are asked from which
their configuration is made, the route is found as Envoy finds it, and the instances are those
that their endpoints would be.
"""

from __future__ import annotations

import enum
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from mesh.model.destinations import Destination, Target
from mesh.model.destinations import Selection as Instances
from mesh.model.inbound import InboundRoute, InboundTraffic
from mesh.model.proxies import ProxyNeed
from mesh.model.requests import HeaderEdits, PathKind, PathMatch
from mesh.model.services import Health, Instance, Protocol
from mesh.model.traffic import WHOLE, Forward, PathRewrite, RewriteKind, Route, Share
from mesh.policies.intentions.matching import Call
from mesh.policies.intentions.verdict import Verdict, judge
from mesh.render.outbound import locality
from mesh.render.parties import Connected, registered
from mesh.render.plan import may_reach, shut_out
from mesh.render.way_out import Exit, way_out
from mesh.routing.chain import Fault
from mesh.routing.instances import selected
from mesh.routing.memo import Compositions
from mesh.routing.outbound import Losers
from mesh.routing.requests import Request, first
from mesh.routing.zones import Considered, considered
from mesh.world.snapshot import World


class Standing(enum.StrEnum):
    """What an instance is to a call now."""

    USED = "used"
    STANDBY = "standby"
    """It gets traffic when those before it do not suffice."""
    CRITICAL = "critical"
    OTHER_SUBSET = "not in the subset"


@dataclass(frozen=True, slots=True)
class Place:
    """One instance, for which target it stands, and at which priority (0 comes first).

    In another ``zone`` it is one of that zone's gateways, and with ``is_egress`` one of our own
    that leads out; ``sni`` is what it is dialled for.
    """

    instance: Instance
    target: Target
    priority: int
    standing: Standing
    zone: str = ""
    sni: str = ""
    is_egress: bool = False

    @property
    def locality(self) -> str:
        """Where it stands; empty if nobody said."""
        return locality(self.instance)


@dataclass(frozen=True, slots=True)
class Callee:
    """What ``proxies`` do with the call when it arrives; ``route`` is the one it takes there."""

    proxies: tuple[str, ...]
    traffic: InboundTraffic
    route: InboundRoute | None


@dataclass(frozen=True, slots=True)
class End:
    """Where a part of the calls ends, and whether it may.

    A call that could never be allowed is refused by the caller's own proxy (``is_closed``).
    ``unknown`` names services whose instances are not known; ``others`` says what becomes of the
    other zones.
    """

    share: Share
    destination: Destination
    verdict: Verdict
    is_closed: bool
    places: tuple[Place, ...]
    unknown: tuple[str, ...]
    callees: tuple[Callee, ...]
    others: tuple[Considered, ...] = ()
    exit: Exit | None = None

    @property
    def percent(self) -> float:
        """How much of the route's traffic it gets."""
        return self.share.weight * 100 / WHOLE


@dataclass(frozen=True, slots=True)
class Way:
    """All that is known of one call.

    ``routes`` are asked in their order, ``chosen`` is the place of the one taken.  ``faults``
    say why the entries cannot be routed; ``losers`` are pairs of a field and the document that
    said it and was overruled.
    """

    service: str
    protocol: Protocol
    request: Request
    routes: tuple[Route, ...]
    chosen: int
    ends: tuple[End, ...]
    faults: tuple[Fault, ...] = ()
    losers: Losers = ()

    @property
    def route(self) -> Route:
        """The route that the call takes."""
        return self.routes[self.chosen]


def walk(
    world: World, need: ProxyNeed, service: str, request: Request, connected: Connected
) -> Way:
    """Follow ``request`` from the proxy ``need`` to ``service``."""
    request = replace(request, caller=need.service, zone=need.zone)
    known = Compositions(world)
    compiled = known.traffic(need.service, known.selection(need), service)
    traffic = compiled.traffic
    chosen = 0
    if traffic.protocol.is_http:
        found = first([route.match for route in traffic.routes], request)
        chosen = len(traffic.routes) - 1 if found is None else found
    action = traffic.routes[chosen].action
    steps = _Steps(world, known, need, connected)
    ends: list[End] = []
    if isinstance(action, Forward):
        arriving = arrived(traffic.routes[chosen], request)
        for share in action.shares:
            sent = replace(arriving, headers=_edited(arriving.headers, share.request_headers))
            ends.append(steps.end(share, traffic.destinations[share.target], sent))
    return Way(
        service,
        traffic.protocol,
        request,
        traffic.routes,
        chosen,
        tuple(ends),
        compiled.error.faults if compiled.error is not None else (),
        tuple(dict.fromkeys(compiled.losers)),
    )


def arrived(route: Route, request: Request) -> Request:
    """Return ``request`` as ``route`` sends it on."""
    action = route.action
    target = request.target
    if isinstance(action, Forward) and action.path is not None:
        target = _rewritten(target, route.match.path, action.path)
    return replace(request, target=target, headers=_edited(request.headers, route.request_headers))


@dataclass(frozen=True, slots=True)
class _Steps:
    world: World
    known: Compositions
    need: ProxyNeed
    connected: Connected

    def end(self, share: Share, destination: Destination, request: Request) -> End:
        world, service = self.world, share.target.service
        caller, protocol = self.need.service, destination.protocol
        call = Call(caller, service, protocol, request.method, request.target, request.headers)
        return End(
            share,
            destination,
            judge(world.intentions, call, default_allow=world.default_allow),
            not may_reach(world, caller, destination),
            tuple(self._places(destination)),
            tuple(name for name in destination.services if name not in world.instances),
            self._callees_of(destination, request),
            considered(world, destination),
            way_out(world, destination),
        )

    def _callees_of(self, destination: Destination, request: Request) -> tuple[Callee, ...]:
        target = destination.target
        is_outside = destination.external is not None or destination.selection.is_outside
        if is_outside or target.elsewhere:
            # What happens in another zone is for its own policies to say.
            return ()
        return tuple(self._callees(target.service, request))

    def _place(
        self, instance: Instance, selection: Instances, priority: int, standing: Standing
    ) -> Place:
        target = selection.target
        if not (target.elsewhere or selection.by_egress):
            return Place(instance, target, priority, standing, self.world.zone)
        who = self.world.identity(target.service, target.elsewhere)
        name = who.server_name(target.subset)
        zone = self.world.zone if selection.by_egress else who.zone
        return Place(
            instance, target, priority, standing, zone, name, is_egress=selection.by_egress
        )

    def _places(self, destination: Destination) -> Iterator[Place]:
        """Yield the instances in the order of their priority, then those that get nothing."""
        if destination.external is not None:
            return
        used = False
        near = self.need.locality if destination.settings.balancing.local_first else ""
        rest: list[Place] = []
        priority = 0
        shut = shut_out(self.world, self.need.service, destination)
        for selection in (destination.selection, *destination.failover):
            if selection.target.service in shut:
                priority += 2 if near else 1
                continue
            usable, others = self._usable(selection)
            halves = [usable]
            if near:
                halves = [
                    [one for one in usable if locality(one) == near],
                    [one for one in usable if locality(one) != near],
                ]
            for half in halves:
                standing = Standing.STANDBY if used else Standing.USED
                for one in half:
                    yield self._place(one, selection, priority, standing)
                used = used or bool(half)
                priority += 1
            rest += (
                self._place(one, selection, priority - 1, standing) for one, standing in others
            )
        yield from rest

    def _usable(
        self, selection: Instances
    ) -> tuple[list[Instance], list[tuple[Instance, Standing]]]:
        chosen = selected(self.world, selection)
        usable = [one for one in chosen if one.health is not Health.CRITICAL]
        known = self.world.instances.get(selection.dialled, ())
        others = [
            (one, Standing.CRITICAL if one.health is Health.CRITICAL else Standing.OTHER_SUBSET)
            for one in known
            if one not in usable
        ]
        return usable, others

    def _callees(self, service: str, request: Request) -> Iterator[Callee]:
        """Yield what happens at the callee's proxies, those that do the same together."""
        needs = self.connected.get(service) or registered(self.world, service)
        if not needs:
            needs = (ProxyNeed(service, self.world.zone, None),)
        # By identity: what is equal was made one object.
        groups: dict[int, tuple[InboundTraffic, list[str]]] = {}
        for need in needs:
            traffic = self.known.inbound(service, self.known.selection(need))
            _, names = groups.setdefault(id(traffic), (traffic, []))
            if need.id:
                names.append(need.id)
        for traffic, names in groups.values():
            taken = first([route.match for route in traffic.routes], request)
            route = traffic.routes[taken] if taken is not None else None
            yield Callee(tuple(sorted(names)), traffic, route)


def _rewritten(target: str, match: PathMatch | None, rewrite: PathRewrite) -> str:
    path, mark, query = target.partition("?")
    if rewrite.kind is RewriteKind.FULL:
        path = rewrite.value
    elif match is None or match.kind is PathKind.SEGMENTS:
        matched = match.value.rstrip("/") if match is not None else ""
        rest = path[len(matched) :].lstrip("/")
        path = f"{rewrite.value.rstrip('/')}/{rest}" if rest else rewrite.value or "/"
    else:
        path = f"{rewrite.value}{path[len(match.value) :]}"
    return f"{path}{mark}{query}"


def _edited(headers: Mapping[str, str], edits: HeaderEdits) -> dict[str, str]:
    """Return ``headers`` after ``edits``; a value that Envoy fills in stands as it is written."""
    found = dict(headers)
    for name in edits.remove:
        found.pop(name.lower(), None)
    found |= {name.lower(): value for name, value in edits.set}
    for name, value in edits.add:
        key = name.lower()
        found[key] = f"{found[key]},{value}" if key in found else value
    return found
