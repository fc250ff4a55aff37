"""Compiles the chain of one service: its router's routes, each with what it ends at."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from mesh.model.destinations import HashPolicy, Target
from mesh.model.entries import Entries, RouteDestination, RouterRoute
from mesh.model.requests import EVERYTHING, NO_ORIGINS, NO_TIMEOUTS, Origins, PathKind, Timeouts
from mesh.model.services import Protocol
from mesh.model.traffic import Forward, PathRewrite, Retry, RewriteKind, Route
from mesh.model.violations import Violation
from mesh.routing.chain.errors import ChainError, Fault
from mesh.routing.chain.places import Blame, label
from mesh.routing.chain.resolvers import Resolved, Walk, seconds
from mesh.routing.chain.splitters import Branch, Splitting, shares


@dataclass(frozen=True, slots=True)
class Chain:
    """What the entries make of calls to ``service``.

    The last route matches everything; a tcp chain has no other.  Every action is a
    :class:`Forward` and ``resolved`` has each of its targets.  ``reads`` names the services
    whose entries were looked at, those that have none included: only a change to one of them
    (or to proxy-defaults) can change the chain.
    """

    service: str
    protocol: Protocol
    routes: tuple[Route, ...]
    resolved: Mapping[Target, Resolved]
    reads: frozenset[str]


def compile_chain(entries: Entries, service: str, *, zone: str = "") -> Chain:
    """Return the chain of ``service``.

    ``zone`` is our own: a reference that names it stays here.

    Raises:
        ChainError: the entries contradict one another; it holds every reason.

    """
    walk = Walk(entries, zone)
    walk.reads.add(service)
    splitting = Splitting(walk)
    routes = _routes(walk, splitting, service)
    if not walk.faults:
        _check_protocol(walk, splitting, service)
    walk.close()
    return Chain(
        service=service,
        protocol=walk.protocol,
        routes=routes,
        resolved=MappingProxyType(walk.resolved),
        reads=frozenset(walk.reads),
    )


def check_chains(
    entries: Entries, services: Iterable[str], *, zone: str = ""
) -> tuple[tuple[str, Violation], ...]:
    """Return everything wrong with the chains of ``services``: the entry to blame and why."""
    found: dict[Fault, None] = {}
    for service in services:
        try:
            compile_chain(entries, service, zone=zone)
        except ChainError as error:
            found.update(dict.fromkeys(error.faults))
    return tuple((fault.entry, fault.violation) for fault in found)


def _check_protocol(walk: Walk, splitting: Splitting, service: str) -> None:
    if walk.protocol.is_http:
        return
    users = [label("splitter", name) for name in splitting.used]
    if service in walk.entries.routers:
        users.insert(0, label("router", service))
    for entry in users:
        walk.blame(
            Blame(entry, ""),
            f"{walk.speaker} speaks {walk.protocol}, which has no requests to route or split: "
            "set an HTTP protocol in its service-defaults",
        )


def _routes(walk: Walk, splitting: Splitting, service: str) -> tuple[Route, ...]:
    router = walk.entries.routers.get(service)
    if router is None:
        splitter = service in walk.entries.splitters
        resolver = service in walk.entries.resolvers
        entry = label("splitter", service) if splitter else ""
        if resolver and not splitter:
            entry = label("resolver", service)
        branches = splitting.spread(service, Blame(entry, ""))
        return (_last(walk, service, branches, entry),)
    entry = label("router", service)
    walk.hear(service, Blame(entry, ""))
    made = [
        _routed(walk, splitting, service, one, Blame(entry, f"Routes[{index}]"))
        for index, one in enumerate(router.routes)
    ]
    branches = splitting.spread(service, Blame(entry, ""))
    return (*made, _last(walk, service, branches, entry))


def _last(walk: Walk, service: str, branches: tuple[Branch, ...], entry: str) -> Route:
    origins = {"route": entry} if entry else {}
    timeouts = NO_TIMEOUTS
    # Consul heeds a resolver's request timeout only where neither router nor splitter precedes
    # it: the branches of a split could not have different ones.
    plain = service not in walk.entries.routers and service not in walk.entries.splitters
    if plain and branches and walk.protocol.is_http:
        found = walk.resolved[branches[0].target]
        if found.request_timeout is not None:
            timeouts = Timeouts(request=found.request_timeout)
            origins["timeouts.request"] = label("resolver", found.target.service)
    hashing = _hashing(walk, branches, origins)
    _tell_shares(walk, service, branches, origins)
    return Route(
        match=EVERYTHING,
        action=Forward(shares(branches)),
        timeouts=timeouts,
        hashing=hashing,
        name=entry,
        origins=_frozen(origins),
    )


def _routed(
    walk: Walk, splitting: Splitting, service: str, one: RouterRoute, blame: Blame
) -> Route:
    wanted = one.destination
    named, at = wanted.service or service, blame.at("Destination")
    if wanted.subset:
        target = walk.resolve(named, wanted.subset, at)
        branches: tuple[Branch, ...] = () if target is None else (Branch(target),)
    else:
        branches = splitting.spread(named, at)
    origins = {"route": blame.entry}
    hashing = _hashing(walk, branches, origins)
    if not wanted.subset:
        _tell_shares(walk, named, branches, origins)
    timeouts, retry, path = _timeouts(wanted), _retry(wanted), _rewrite(walk, one, at)
    if timeouts.request is not None:
        origins["timeouts.request"] = blame.entry
    if timeouts.idle is not None:
        origins["timeouts.idle"] = blame.entry
    if retry is not None:
        origins["retry"] = blame.entry
    if path is not None:
        origins["path"] = blame.entry
    return Route(
        match=one.match,
        action=Forward(shares(branches), path),
        timeouts=timeouts,
        retry=retry,
        request_headers=wanted.request_headers,
        response_headers=wanted.response_headers,
        hashing=hashing,
        name=blame.entry,
        origins=_frozen(origins),
    )


def _timeouts(wanted: RouteDestination) -> Timeouts:
    if not wanted.request_timeout and not wanted.idle_timeout:
        return NO_TIMEOUTS
    return Timeouts(seconds(wanted.request_timeout), seconds(wanted.idle_timeout))


def _retry(wanted: RouteDestination) -> Retry | None:
    """Return the retries as Consul hands them to Envoy.

    Conditions alone mean one retry.  A number alone retries nothing: Consul has no default
    conditions.
    """
    conditions = [*wanted.retry_on]
    if wanted.retry_on_connect_failure:
        conditions.append("connect-failure")
    if wanted.retry_statuses:
        conditions.append("retriable-status-codes")
    if not conditions and not wanted.retries:
        return None
    return Retry(
        attempts=wanted.retries or 1,
        on=tuple(dict.fromkeys(conditions)),
        statuses=wanted.retry_statuses,
    )


def _rewrite(walk: Walk, one: RouterRoute, blame: Blame) -> PathRewrite | None:
    value = one.destination.prefix_rewrite
    if not value:
        return None
    kind = one.match.path.kind if one.match.path is not None else None
    if kind is PathKind.EXACT:
        return PathRewrite(RewriteKind.FULL, value)
    if kind not in {PathKind.PREFIX, PathKind.SEGMENTS}:
        walk.blame(
            blame.at("PrefixRewrite"), "needs a PathPrefix or PathExact in Match to put it in for"
        )
    return PathRewrite(RewriteKind.PREFIX, value)


def _hashing(
    walk: Walk, branches: tuple[Branch, ...], origins: dict[str, str]
) -> tuple[HashPolicy, ...]:
    """Return what the route's requests are hashed by.

    The branches of a split share one hash, so the first that wants one decides, as in Consul.
    """
    for branch in branches:
        balancing = walk.resolved[branch.target].balancing
        if balancing is not None and balancing.hashing:
            origins["hashing"] = label("resolver", branch.target.service)
            return balancing.hashing
    return ()


def _tell_shares(
    walk: Walk, service: str, branches: tuple[Branch, ...], origins: dict[str, str]
) -> None:
    if service in walk.entries.splitters:
        origins["shares"] = label("splitter", service)
    elif branches and branches[0].target != Target(service):
        origins["shares"] = label("resolver", service)


def _frozen(origins: dict[str, str]) -> Origins:
    return MappingProxyType(origins) if origins else NO_ORIGINS
