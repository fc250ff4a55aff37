"""What happens to calls at a service's own proxies: entries and policies, composed.

Of each kind of policy the first rule that matches a request holds, the specific document's
before the general's.  Kinds know nothing of one another, so the routes are all combinations of
one rule of each, in order: the first route that matches a request then has for every kind the
first rule that does.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from mesh.model.destinations import Limits
from mesh.model.inbound import OPEN_INBOUND, PLAIN_INBOUND, InboundRoute, InboundTraffic
from mesh.model.requests import EVERYTHING, Match, Timeouts
from mesh.model.services import Protocol
from mesh.model.violations import InvalidInputError, Violation
from mesh.policies.document import Document
from mesh.policies.kind import Kind
from mesh.policies.registry import KINDS
from mesh.policies.selection import Selection
from mesh.policies.spec import Rule
from mesh.policies.unread import Unread
from mesh.routing.conjunction import both
from mesh.world.snapshot import World

_KINDS: Final = tuple(kind for kind in KINDS.values() if kind.on_inbound or kind.on_inbound_route)
MAX_ROUTES: Final = 1_000
"""Combinations of rules at one service; more is a mistake, and costs every request."""


@dataclass(frozen=True, slots=True)
class _Alternative:
    """A rule of one kind, for one of its matches; ``apply`` is None where the kind is silent."""

    match: Match
    apply: Callable[[InboundRoute], InboundRoute] | None = None
    origin: str = ""

    def applied(self, route: InboundRoute) -> InboundRoute:
        """Return ``route`` with what the rule says, and where it says so."""
        if self.apply is None:
            return route
        kind, _, _ = self.origin.partition(" ")
        return replace(self.apply(route), origins={**route.origins, kind: self.origin})


_SILENT: Final = _Alternative(EVERYTHING)


def compile_inbound(world: World, said: Selection, service: str) -> InboundTraffic:
    """Compose what happens to calls to ``service`` at proxies that the policies ``said`` concern.

    Raises:
        InvalidInputError: the rules have more than :data:`MAX_ROUTES` combinations.

    """
    protocol = world.protocol(service)
    inbound = _by_entries(world, service)
    origins: dict[str, str] = {}
    for kind in _KINDS:
        for document, rule in _rules(said, kind):
            if kind.on_inbound is not None and not rule.matches:
                inbound = kind.on_inbound(rule.default, inbound, protocol)
                origins[kind.name] = document.label
                break
    routes = _routes(said, protocol, _first_route(world, service)) if protocol.is_http else ()
    if routes or origins or inbound != OPEN_INBOUND:
        inbound = replace(inbound, routes=routes, origins=origins)
    return _closed(inbound, said, protocol)


def _closed(inbound: InboundTraffic, said: Selection, protocol: Protocol) -> InboundTraffic:
    """Close what documents that cannot be read may have closed, whatever others say."""
    for document in said.documents:
        closing = KINDS[document.kind].closing
        if closing is not None and isinstance(document.spec, Unread):
            inbound = closing.apply(inbound, protocol, document.label)
    return inbound


def is_about_callers(document: Document) -> bool:
    """Whether ``document`` says anything of those who call the proxies it concerns."""
    return isinstance(document.spec, Unread) or bool(getattr(document.spec, "rules", ()))


def _by_entries(world: World, service: str) -> InboundTraffic:
    entry = world.entries.service_defaults.get(service)
    if entry is None:
        return OPEN_INBOUND
    limits = (
        Limits(connections=entry.max_inbound_connections) if entry.max_inbound_connections else None
    )
    return replace(OPEN_INBOUND, limits=limits, connect_timeout=entry.local_connect_timeout)


def _first_route(world: World, service: str) -> InboundRoute:
    entry = world.entries.service_defaults.get(service)
    if entry is None or entry.local_request_timeout is None:
        return PLAIN_INBOUND
    return replace(PLAIN_INBOUND, timeouts=Timeouts(request=entry.local_request_timeout))


def _routes(said: Selection, protocol: Protocol, plain: InboundRoute) -> tuple[InboundRoute, ...]:
    choices = [
        (*_alternatives(said, kind, protocol), _SILENT)
        for kind in _KINDS
        if kind.on_inbound_route is not None
    ]
    choices = [found for found in choices if len(found) > 1]
    if not choices:
        return () if plain == PLAIN_INBOUND else (plain,)
    routes: tuple[InboundRoute, ...] = (plain,)
    for alternatives in choices:
        routes = _narrowed(routes, alternatives)
    return () if all(replace(one, match=EVERYTHING) == PLAIN_INBOUND for one in routes) else routes


def _narrowed(
    routes: Sequence[InboundRoute], alternatives: Sequence[_Alternative]
) -> tuple[InboundRoute, ...]:
    """Return ``routes`` with the rules of one more kind, each under its match and in order.

    Combinations that nothing can match are dropped here, kind by kind: there may be few routes
    where the product of all rules is endless.
    """
    # The last route so far is for everything, so each match of this kind has a route of its own.
    _check(len({alternative.match for alternative in alternatives}))
    found: dict[Match, InboundRoute] = {}
    for route in routes:
        for alternative in alternatives:
            match = both(route.match, alternative.match)
            if match is not None and match not in found:
                found[match] = replace(alternative.applied(route), match=match)
                _check(len(found))
    return tuple(found.values())


def _check(combinations: int) -> None:
    if combinations > MAX_ROUTES:
        message = f"the rules of these policies have more than {MAX_ROUTES} combinations"
        raise InvalidInputError("inbound policies", (Violation("rules", message),))


def _alternatives(said: Selection, kind: Kind, protocol: Protocol) -> Iterator[_Alternative]:
    """Yield the rules of ``kind`` in the order in which they are asked, up to one for all."""
    for document, rule in _rules(said, kind):
        apply = _applied(kind, rule.default, protocol)
        for match in [one.form() for one in rule.matches] or [EVERYTHING]:
            yield _Alternative(match, apply, document.label)
            if match.is_everything:
                return


def _applied(kind: Kind, conf: Any, protocol: Protocol) -> Callable[[InboundRoute], InboundRoute]:
    contribute = kind.on_inbound_route
    if contribute is None:
        raise TypeError(f"{kind.name} has no rules for requests")
    return lambda route: contribute(conf, route, protocol)


def _rules(said: Selection, kind: Kind) -> Iterator[tuple[Document, Rule[Any]]]:
    for document in reversed(said.of(kind.name)):
        rules: tuple[Rule[Any], ...] = getattr(document.spec, "rules", ())
        for rule in rules:
            yield document, rule
