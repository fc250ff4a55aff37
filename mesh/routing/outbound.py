"""How a service's proxies reach one upstream: entries, policies and defaults, composed.

Routes come from policies first, then from the discovery chain, whose last one takes all.  A
setting is the default's until an entry says otherwise, and the entry's until a policy does.
Every target is resolved (redirects, default subset, failover) as Consul's resolver has it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from mesh.model.destinations import Destination, External, Settings, Target
from mesh.model.destinations import Selection as Instances
from mesh.model.entries import NO_UPSTREAM_DEFAULTS, ServiceDefaults, UpstreamDefaults
from mesh.model.requests import EVERYTHING
from mesh.model.services import Protocol
from mesh.model.traffic import WHOLE, Forward, Respond, Route, Share, Traffic
from mesh.policies import defaults, merge
from mesh.policies.document import Document
from mesh.policies.kinds import external_service, http_route, tcp_route
from mesh.policies.registry import KINDS
from mesh.policies.selection import Selection
from mesh.routing.chain import ChainError, Resolved, compile_chain, resolve
from mesh.world.snapshot import World

_UNAVAILABLE: Final = 503
_ON_ROUTE: Final = tuple(kind for kind in KINDS.values() if kind.on_route)
_ON_TARGET: Final = tuple(kind for kind in KINDS.values() if kind.on_target)

Losers = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Compiled:
    """How calls travel, and what that was derived from.

    ``names`` are the services whose entries, policies or intentions it turns on; ``error`` says
    why nothing better could be made of the entries; ``losers`` are pairs of a field and the
    document that lost it to another.
    """

    traffic: Traffic
    names: frozenset[str]
    error: ChainError | None = None
    losers: Losers = ()


def compile_traffic(world: World, said: Selection, caller: str, service: str) -> Compiled:
    """Compose how proxies of ``caller``, whom the policies ``said`` concern, reach ``service``."""
    work = _Work(world, said, world.entries.service_defaults.get(caller))
    try:
        return work.of(service)
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
    return Compiled(traffic, error.names | {service}, error)


@dataclass(slots=True)
class _Work:
    """One composition; it collects the destinations on its way."""

    world: World
    said: Selection
    caller: ServiceDefaults | None
    resolved: dict[Target, Resolved] = field(default_factory=dict)
    names: set[str] = field(default_factory=set)
    losers: list[tuple[str, str]] = field(default_factory=list)
    protocol: Protocol = Protocol.TCP
    settings: dict[Target, Settings] = field(default_factory=dict)

    def of(self, service: str) -> Compiled:
        self.names.add(service)
        outside = self._external(service)
        if outside is not None:
            self.protocol = outside[1]
            routes: tuple[Route, ...] = (Route(EVERYTHING, self._whole(self._resolve(service))),)
        else:
            chain = compile_chain(self.world.entries, service, zone=self.world.zone)
            self.names |= chain.reads
            self.protocol = chain.protocol
            self.resolved.update(chain.resolved)
            routes = chain.routes
        routes = self._with_policies(service, routes)
        if self.world.rollouts:
            routes = tuple(self._rolling_out(route) for route in routes)
        for target in dict.fromkeys(_targets(routes)):
            self.settings[target] = self._settings(target)
        finished = tuple(self._finished(service, route) for route in routes)
        destinations = {target: self._destination(target) for target in self.settings}
        traffic = Traffic(service, self.protocol, finished, destinations)
        self.names |= {name for one in destinations.values() for name in one.services}
        return Compiled(traffic, frozenset(self.names), None, tuple(self.losers))

    def _external(self, service: str) -> tuple[External, Protocol] | None:
        document = self.world.policies.get((external_service.KIND.name, service))
        return external_service.external(document) if document is not None else None

    def _whole(self, target: Target) -> Forward:
        return Forward((Share(target),))

    def _resolve(self, service: str, subset: str = "") -> Target:
        """Return where a reference ends, and remember what is known of it."""
        self.names.add(service)
        if self._external(service) is not None:
            target = Target(service)
            self.resolved[target] = Resolved(Instances(target))
            return target
        found = resolve(self.world.entries, service, subset, zone=self.world.zone)
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
                    self.losers.append(("route", document.label))
        if not found:
            return routes
        rest = routes[-1].action
        own = [self._resolved_route(service, route, rest) for route in found.values()]
        return (*http_route.in_precedence(own), *routes)

    def _tcp(self, service: str, routes: tuple[Route, ...]) -> tuple[Route, ...]:
        for document in reversed(self.said.of(tcp_route.KIND.name)):
            shares = tcp_route.shares(document, service)
            if shares is not None:
                resolved = tuple(self._resolved_share(share) for share in shares)
                origins = {"route": document.label}
                return (Route(EVERYTHING, Forward(resolved), name=document.name, origins=origins),)
        return routes

    def _resolved_route(self, service: str, route: Route, rest: object) -> Route:
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
        for share in route.action.shares:
            rollout = self.world.rollouts.get(share.target.service)
            if rollout is None or share.target != self._referred(rollout.stable):
                shares.append(share)
                continue
            new = round(share.weight * rollout.weight / WHOLE)
            canary = replace(share, target=self._referred(rollout.canary), weight=new)
            shares += [replace(share, weight=share.weight - new), canary]
        if tuple(shares) == route.action.shares:
            return route
        return replace(route, action=replace(route.action, shares=tuple(shares)))

    def _referred(self, reference: Target) -> Target:
        return self._resolve(reference.service, reference.subset)

    def _resolved_share(self, share: Share) -> Share:
        target = self._resolve(share.target.service, share.target.subset)
        if self._protocol(target).is_http is not self.protocol.is_http:
            raise ChainError.of(
                f"{target.name} speaks {self._protocol(target).value}, "
                f"which calls that are routed as {self.protocol.value} cannot reach",
                names=frozenset(self.names),
            )
        return replace(share, target=target)

    def _protocol(self, target: Target) -> Protocol:
        outside = self._external(target.service)
        return outside[1] if outside is not None else self.world.protocol(target.service)

    def _settings(self, target: Target) -> Settings:
        resolved = self.resolved[target]
        settings = replace(defaults.SETTINGS, connect_timeout=resolved.connect_timeout)
        origins = dict(resolved.origins)
        if resolved.balancing is not None:
            settings = replace(settings, balancing=resolved.balancing)
        settings = self._by_caller(settings, target, origins)
        protocol = self._protocol(target)
        for kind in _ON_TARGET:
            documents = self.said.of(kind.name)
            if documents and kind.conf is not None and kind.on_target is not None:
                said = merge.outbound(documents, target.service)
                merged = merge.merge(kind.conf, said)
                if merged is not None:
                    settings = kind.on_target(merged.conf, settings, protocol)
                    self._note(kind.name, merged, origins)
        return replace(settings, origins=origins)

    def _by_caller(self, settings: Settings, target: Target, origins: dict[str, str]) -> Settings:
        """Apply the ``UpstreamConfig`` of the caller's own service-defaults."""
        if self.caller is None:
            return settings
        said = _over(self.caller.upstream, self.caller.upstreams.get(target.service))
        if said == NO_UPSTREAM_DEFAULTS:
            return settings
        label = f"service-defaults {self.caller.name}"
        if said.connect_timeout is not None:
            settings = replace(settings, connect_timeout=said.connect_timeout)
            origins["connect_timeout"] = label
        if said.limits is not None:
            settings = replace(settings, limits=said.limits)
            origins["limits"] = label
        if said.outlier is not None:
            settings = replace(settings, outlier=said.outlier)
            origins["outlier"] = label
        return settings

    def _finished(self, service: str, route: Route) -> Route:
        route = defaults.on_route(route, self.protocol)
        origins = dict(route.origins)
        for kind in _ON_ROUTE:
            documents = self.said.of(kind.name)
            if documents and kind.conf is not None and kind.on_route is not None:
                said = merge.outbound(documents, service, route=route.name)
                merged = merge.merge(kind.conf, said)
                if merged is not None:
                    route = kind.on_route(merged.conf, route, self.protocol)
                    self._note(kind.name, merged, origins)
        if isinstance(route.action, Forward) and route.action.shares:
            # The shares have one hash among them: the first that wants one decides, as in Consul.
            wanted = (self.settings[one.target].balancing.hashing for one in route.action.shares)
            route = replace(route, hashing=next(filter(None, wanted), ()))
        return replace(route, origins=origins)

    def _note(self, kind: str, merged: merge.Merged[merge.C], origins: dict[str, str]) -> None:
        origins.update((f"{kind}.{path}", label) for path, label in merged.origins.items())
        self.losers += [(f"{kind}.{path}", label) for path, label in merged.losers]

    def _destination(self, target: Target) -> Destination:
        resolved = self.resolved[target]
        outside = self._external(target.service)
        return Destination(
            resolved.selection,
            self._protocol(target),
            self.settings[target],
            failover=resolved.failover,
            external=outside[0] if outside is not None else None,
        )


def _targets(routes: Iterable[Route]) -> Iterator[Target]:
    for route in routes:
        if isinstance(route.action, Forward):
            yield from (share.target for share in route.action.shares)
        yield from (mirror.target for mirror in route.mirrors)


def _over(general: UpstreamDefaults, specific: UpstreamDefaults | None) -> UpstreamDefaults:
    if specific is None:
        return general
    return UpstreamDefaults(
        specific.limits or general.limits,
        specific.outlier or general.outlier,
        specific.connect_timeout or general.connect_timeout,
    )
