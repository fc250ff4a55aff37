"""How a service's proxies reach one upstream: entries, policies and defaults, composed.

Routes come from policies first, then from the discovery chain, whose last one takes all.  A
setting is the default's until an entry says otherwise, and the entry's until a policy does.
Every target is resolved (redirects, default subset, failover) as Consul's resolver has it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from mesh.model.destinations import HERE, Destination, External, Settings, Target
from mesh.model.destinations import Selection as Instances
from mesh.model.requests import EVERYTHING
from mesh.model.rollouts import Rollout
from mesh.model.services import Protocol
from mesh.model.traffic import WHOLE, Forward, Respond, Route, Share, Traffic
from mesh.policies.defaults import failing_over
from mesh.policies.document import Document
from mesh.policies.kinds import external_service, http_route, tcp_route
from mesh.policies.selection import Selection
from mesh.routing.chain import Chain, ChainError, Resolved, compile_chain, resolve
from mesh.routing.egress import routed
from mesh.routing.treatment import Treatment
from mesh.routing.zones import elsewhere
from mesh.world.snapshot import World

PINNED: Final = "@"
"""Stands between a service and the zone that calls are pinned to."""
_UNAVAILABLE: Final = 503

Losers = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Compiled:
    """How calls travel, and what that was derived from.

    ``names`` are the services whose entries, policies or intentions it turns on, ``services``
    those whose instances it needs; ``error`` says why nothing better could be made of the
    entries; ``losers`` are pairs of a field and the document that lost it to another.
    """

    traffic: Traffic
    names: frozenset[str]
    services: frozenset[str] = frozenset()
    error: ChainError | None = None
    losers: Losers = ()


def compile_traffic(
    world: World,
    said: Selection,
    caller: str,
    service: str,
    chain: Chain | ChainError | None = None,
) -> Compiled:
    """Compose how proxies of ``caller``, whom the policies ``said`` concern, reach ``service``.

    ``chain`` is what the entries make of calls to ``service``, if that is known already.  Calls
    to ``service@zone`` end in that zone: neither routes nor splits send them elsewhere, and
    nobody stands in.
    """
    treatment = Treatment(said, world.entries.service_defaults.get(caller))
    work = _Work(world, said, treatment, caller)
    service, _, zone = service.partition(PINNED)
    try:
        return work.pinned(service, zone) if zone else work.of(service, chain)
    except ChainError as error:
        return _unroutable(world, service, error)


def route_targets(documents: Iterable[Document], service: str) -> frozenset[str]:
    """Return the services that routes in ``documents`` send calls to ``service`` on to."""
    found: set[str] = set()
    for document in documents:
        for shares in _policy_shares(document, service):
            found |= {share.target.service for share in shares}
    return frozenset(found)


def _policy_shares(document: Document, service: str) -> Iterator[Sequence[Share]]:
    if document.kind == http_route.KIND.name:
        for route in http_route.routes(document, service):
            yield [Share(mirror.target) for mirror in route.mirrors]
            if isinstance(route.action, Forward):
                yield route.action.shares
    elif document.kind == tcp_route.KIND.name:
        yield tcp_route.shares(document, service) or ()


def _unroutable(world: World, service: str, error: ChainError) -> Compiled:
    protocol = world.protocol(service)
    sentence = f"mesh: calls to {service} cannot be routed in zone {world.zone}: {error}\n"
    if protocol.is_http:
        route = Route(EVERYTHING, Respond(_UNAVAILABLE, sentence))
    else:
        route = Route(EVERYTHING, Forward(()))
    traffic = Traffic(service, protocol, (route,), {})
    return Compiled(traffic, error.names | {service}, error=error)


@dataclass(slots=True)
class _Work:
    """One composition; it collects the destinations on its way."""

    world: World
    said: Selection
    treatment: Treatment
    caller: str
    resolved: dict[Target, Resolved] = field(default_factory=dict)
    names: set[str] = field(default_factory=set)
    protocol: Protocol = Protocol.TCP
    settings: dict[Target, Settings] = field(default_factory=dict)
    by: str = ""
    """The policy whose references are being followed."""

    def of(self, service: str, chain: Chain | ChainError | None) -> Compiled:
        self.names.add(service)
        outside = self._external(service)
        if outside is not None:
            self.protocol = outside[1]
            routes: tuple[Route, ...] = (Route(EVERYTHING, self._whole(self._resolve(service))),)
        else:
            if isinstance(chain, ChainError):
                return _unroutable(self.world, service, chain)
            chain = chain or compile_chain(self.world.entries, service, zone=self.world.zone)
            self.names |= chain.reads
            self.protocol = chain.protocol
            self.resolved.update(
                # Of what is outside no resolver speaks, whichever way it is come to.
                (target, found if self._external(target.service) is None else _outside(target))
                for target, found in chain.resolved.items()
            )
            routes = chain.routes
        routes = self._with_policies(service, routes)
        if self.world.rollouts:
            routes = tuple(self._rolling_out(route) for route in routes)
        return self._composed(service, routes)

    def _composed(self, service: str, routes: tuple[Route, ...]) -> Compiled:
        for target in dict.fromkeys(_targets(routes)):
            resolved, protocol = self.resolved[target], self._protocol(target)
            self.settings[target] = self.treatment.of_target(target, resolved, protocol)
        destinations = {target: self._destination(target) for target in self.settings}
        finished = tuple(self._finished(service, route, destinations) for route in routes)
        traffic = Traffic(service, self.protocol, finished, destinations)
        services = frozenset(name for one in destinations.values() for name in one.services)
        names = services | self.names
        return Compiled(traffic, names, services, losers=tuple(self.treatment.losers))

    def pinned(self, service: str, zone: str) -> Compiled:
        self.names.add(service)
        own = self.world.zone
        if zone != own and zone not in self.world.zones:
            known = ", ".join(sorted((own, *self.world.zones)))
            unknown = f"there is no zone {zone}; those known are: {known}"
            raise ChainError.of(unknown, names=frozenset({service}))
        if self.world.is_peer(zone):
            # Our own entries speak of our own service of that name.
            target = Target(service, zone=zone)
            self.protocol = self._protocol(target)
            self.resolved[target] = replace(_outside(target), fails_over=True)
            return self._composed(service, (Route(EVERYTHING, self._whole(target)),))
        found = resolve(self.world.entries, service, zone=own, at=zone)
        target = found.target
        if not target.zone:
            target = replace(target, zone=HERE)
        self.names |= found.reads
        self.protocol = self._protocol(target)
        selection = replace(found.selection, target=target)
        self.resolved[target] = replace(found, selection=selection, failover=(), fails_over=True)
        return self._composed(service, (Route(EVERYTHING, self._whole(target)),))

    def _external(self, service: str) -> tuple[External, Protocol] | None:
        document = self.world.policies.get((external_service.KIND.name, service))
        return external_service.external(document) if document is not None else None

    def _outside(self, target: Target) -> tuple[External, Protocol] | None:
        # An external service of that name is ours, and none of a peer's.
        return None if self.world.is_peer(target.elsewhere) else self._external(target.service)

    def _whole(self, target: Target) -> Forward:
        return Forward((Share(target),))

    def _resolve(self, service: str, subset: str = "") -> Target:
        """Return where a reference ends, and remember what is known of it."""
        self.names.add(service)
        if self._external(service) is not None:
            target = Target(service)
            self.resolved[target] = _outside(target)
            return target
        found = resolve(self.world.entries, service, subset, zone=self.world.zone, by=self.by)
        self.names |= found.reads
        target = found.selection.target
        self.resolved[target] = found
        return target

    def _with_policies(self, service: str, routes: tuple[Route, ...]) -> tuple[Route, ...]:
        if not self.protocol.is_http:
            return self._tcp(service, routes)
        # What is asked last speaks first: the specific document before the general.
        found: dict[object, Route] = {}
        for document in reversed(self.said.of(http_route.KIND.name)):
            for route in http_route.routes(document, service):
                earlier = found.setdefault(route.match, route)
                if earlier is not route:
                    self.treatment.losers.append(("route", document.label))
        if not found:
            return routes
        rest = routes[-1].action
        own = [self._resolved_route(service, route, rest) for route in found.values()]
        self.by = ""
        return (*http_route.in_precedence(own), *routes)

    def _tcp(self, service: str, routes: tuple[Route, ...]) -> tuple[Route, ...]:
        for document in reversed(self.said.of(tcp_route.KIND.name)):
            shares = tcp_route.shares(document, service)
            if shares is not None:
                self.by = document.label
                resolved = tuple(self._resolved_share(share) for share in shares)
                self.by = ""
                origins = {"route": document.label}
                return (Route(EVERYTHING, Forward(resolved), name=document.name, origins=origins),)
        return routes

    def _resolved_route(self, service: str, route: Route, rest: object) -> Route:
        self.by = route.origins.get("route", "")
        mirrors = tuple(
            replace(mirror, target=self._resolve(mirror.target.service, mirror.target.subset))
            for mirror in route.mirrors
        )
        action = route.action
        if isinstance(action, Forward):
            if action.shares == (Share(Target(service)),) and isinstance(rest, Forward):
                # Nothing said where to: as the chain has it, split and all.
                shares = rest.shares
            else:
                shares = tuple(self._resolved_share(share) for share in action.shares)
            action = replace(action, shares=shares)
        return replace(route, action=action, mirrors=mirrors)

    def _rolling_out(self, route: Route) -> Route:
        """Let a rollout take its part of the calls that end at what it replaces."""
        if not isinstance(route.action, Forward):
            return route
        shares: list[Share] = []
        origins = dict(route.origins)
        for share in route.action.shares:
            rollout = self.world.rollouts.get(share.target.service)
            canary = self._canary(rollout, share.target) if rollout is not None else None
            if rollout is None or canary is None:
                shares.append(share)
                continue
            new = round(share.weight * rollout.weight / WHOLE)
            origins["shares"] = f"MeshRollout {rollout.name}"
            shares += [
                replace(share, weight=share.weight - new),
                replace(share, target=canary, weight=new),
            ]
        if tuple(shares) == route.action.shares:
            return route
        action = replace(route.action, shares=tuple(shares))
        return replace(route, action=action, origins=origins)

    def _canary(self, rollout: Rollout, target: Target) -> Target | None:
        """Return where calls that end at ``target`` are let go; None if they stay there."""
        try:
            if target != self._referred(rollout.stable):
                return None
            canary = self._referred(rollout.canary)
        except ChainError as error:
            # What cannot be reached must not take the calls of what can.
            self.names |= error.names
            return None
        fits = self._protocol(canary).is_http is self.protocol.is_http
        return canary if fits and canary != target else None

    def _referred(self, reference: Target) -> Target:
        return self._resolve(reference.service, reference.subset)

    def _resolved_share(self, share: Share) -> Share:
        target = self._resolve(share.target.service, share.target.subset)
        if self._protocol(target).is_http is not self.protocol.is_http:
            raise ChainError.of(
                f"{target.name} speaks {self._protocol(target).value}, "
                f"which calls that are routed as {self.protocol.value} cannot reach",
                names=frozenset(self.names),
                by=self.by,
            )
        return replace(share, target=target)

    def _protocol(self, target: Target) -> Protocol:
        outside = self._outside(target)
        if outside is not None:
            return outside[1]
        return self.world.protocol(target.service, target.elsewhere)

    def _finished(
        self, service: str, route: Route, destinations: Mapping[Target, Destination]
    ) -> Route:
        route = self.treatment.of_route(service, route, self.protocol)
        if isinstance(route.action, Forward) and route.action.shares:
            found = [destinations[one.target] for one in route.action.shares]
            # The shares have one hash among them: the first that wants one decides, as in Consul.
            wanted = (one.settings.balancing.hashing for one in found)
            route = replace(route, hashing=next(filter(None, wanted), ()))
            if route.retry is not None and any(one.failover for one in found):
                route = replace(route, retry=replace(route.retry, fails_over=True))
        return route

    def _destination(self, target: Target) -> Destination:
        resolved = self.resolved[target]
        outside = self._outside(target)
        protocol, settings = self._protocol(target), self.settings[target]
        selection = self._routed(resolved.selection)
        is_outside = outside is not None or selection.is_outside
        failover = resolved.failover if is_outside else self._failover(target, resolved)
        return Destination(
            selection,
            protocol,
            failing_over(settings) if failover or target.elsewhere else settings,
            failover=tuple(self._routed(one) for one in failover),
            # The egress gateways know what is outside; the caller need not.
            external=None if outside is None or selection.by_egress else outside[0],
        )

    def _failover(self, target: Target, resolved: Resolved) -> tuple[Instances, ...]:
        """Return what stands in for ``target``: as a policy says, else an entry, else the near."""
        rules, protocol = self.settings[target].balancing.cross_zone, self._protocol(target)
        if resolved.fails_over and (rules is None or target.zone):
            return resolved.failover
        others = elsewhere(self.world, target, protocol, rules)
        here = tuple(one for one in resolved.failover if not one.target.elsewhere)
        if here != resolved.failover:
            self.treatment.losers.append(("failover", f"service-resolver {target.service}"))
        return (*here, *others)

    def _routed(self, selection: Instances) -> Instances:
        return routed(self.world, self.caller, selection)


def _outside(target: Target) -> Resolved:
    return Resolved(Instances(target))


def _targets(routes: Iterable[Route]) -> Iterator[Target]:
    for route in routes:
        if isinstance(route.action, Forward):
            yield from (share.target for share in route.action.shares)
        yield from (mirror.target for mirror in route.mirrors)
