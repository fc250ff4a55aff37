"""Compositions, remembered: each is made once for all the proxies that it is the same for.

How calls travel depends on the upstream, on the policies that concern the calling proxy and
speak of that upstream, and on what the caller's own service-defaults say.  Proxies that agree in
all three share one :class:`~mesh.routing.outbound.Compiled`, and what is equal is the same
object: whoever derives something from it may compare by identity.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Final
from weakref import WeakValueDictionary

from mesh.model.destinations import Destination
from mesh.model.entries import NO_UPSTREAM_DEFAULTS
from mesh.model.inbound import InboundTraffic
from mesh.model.names import WILDCARD
from mesh.model.proxies import ProxyNeed
from mesh.policies.kinds import http_route
from mesh.policies.selection import NOTHING_SELECTED, Selection, Selector
from mesh.routing.chain import Chain, ChainError, compile_chain
from mesh.routing.inbound import compile_inbound, is_about_callers
from mesh.routing.outbound import PINNED, Compiled, compile_traffic, route_targets
from mesh.world.facets import Aspect
from mesh.world.reduce import Touched
from mesh.world.snapshot import World

_TO_ONE: Final = frozenset(
    {Aspect.ENTRIES, Aspect.POLICIES_TO, Aspect.INTENTIONS, Aspect.KNOWN, Aspect.EXPORTS}
)
"""Aspects by which what is told of one service may change how calls to others travel."""
_COMPOSED_OF: Final = frozenset(
    {Aspect.ENTRIES, Aspect.POLICIES_TO, Aspect.PROXY_DEFAULTS, Aspect.EXPORTS}
)

Variant = tuple[Selection, str]
"""The policies that matter, and the caller if its own service-defaults do (else empty)."""


@dataclass(slots=True)
class _Known:
    """What is remembered of one upstream.

    ``answers`` are the ``compiled`` by all the policies that concern a caller, relevant or not;
    ``chain`` waits for the first to be compiled from it.
    """

    chain_names: frozenset[str] = frozenset()
    chain: Chain | ChainError | None = None
    compiled: dict[Variant, Compiled] = field(default_factory=dict)
    answers: dict[Variant, Compiled] = field(default_factory=dict)
    former: dict[Variant, Compiled] = field(default_factory=dict)
    names: set[str] = field(default_factory=set)


class Compositions:
    """Answers how calls travel, for a world that moves on."""

    def __init__(self, world: World) -> None:
        """Start from ``world``."""
        self.world = world
        self._upstreams: dict[str, _Known] = {}
        self._turning: defaultdict[str, set[str]] = defaultdict(set)
        self._selector = Selector(world.policies)
        self._about_callers: dict[Selection, Selection] = {}
        self._inbound: dict[str, dict[Selection, InboundTraffic]] = {}
        self._former: dict[str, dict[Selection, InboundTraffic]] = {}
        self._destinations: WeakValueDictionary[Destination, Destination] = WeakValueDictionary()

    @property
    def is_empty(self) -> bool:
        """Whether nothing is remembered of any service."""
        return not any((self._upstreams, self._turning, self._inbound, self._former))

    @property
    def errors(self) -> Mapping[str, ChainError]:
        """The upstreams that cannot be routed as their entries stand, and why."""
        return {
            service: compiled.error
            for service, known in self._upstreams.items()
            for compiled in known.compiled.values()
            if compiled.error is not None
        }

    @property
    def standing(self) -> frozenset[str]:
        """Those of :attr:`errors` whose calls go on as they last could be routed."""
        return frozenset(
            service
            for service, known in self._upstreams.items()
            for compiled in known.compiled.values()
            if compiled.error is not None and compiled.traffic.destinations
        )

    def selection(self, need: ProxyNeed) -> Selection:
        """Return the policies that concern the proxy ``need``; equal ones are one object."""
        return self._selector.select(need.id, need.all_labels)

    def traffic(self, caller: str, said: Selection, service: str) -> Compiled:
        """Return how proxies of ``caller`` that ``said`` concerns reach ``service``."""
        known = self._known(service)
        configuring = caller if _configures(self.world, caller) else ""
        compiled = known.answers.get((said, configuring))
        if compiled is None:
            variant = (_relevant(known, said, service), configuring)
            compiled = known.compiled.get(variant)
            if compiled is None:
                compiled = self._compile(known, variant, caller, service)
            known.answers[said, configuring] = compiled
        return compiled

    def inbound(self, service: str, said: Selection) -> InboundTraffic:
        """Return what happens to calls to ``service`` at proxies that ``said`` concerns."""
        known = self._inbound.setdefault(service, {})
        documents = self._about_callers.get(said)
        if documents is None:
            documents = Selection(tuple(filter(is_about_callers, said.documents)))
            self._about_callers[said] = documents
        found = known.get(documents)
        if found is None:
            compiled = compile_inbound(self.world, documents, service)
            before = self._former.get(service, {}).get(documents)
            # Equal to what it was: the same object, so that nobody renders it again.
            found = known[documents] = before if before == compiled else compiled
        return found

    def forget(self, service: str) -> None:
        """Let go of ``service``, which nobody calls any more."""
        known = self._upstreams.pop(service, None)
        if known is not None:
            for name in known.names:
                _discard(self._turning, name, service)

    def forget_callee(self, service: str) -> None:
        """Let go of what happens to calls to ``service``, which has no proxy any more."""
        self._inbound.pop(service, None)
        self._former.pop(service, None)

    def advance(self, world: World, touched: Touched) -> frozenset[str]:
        """Move on to ``world``; return the upstreams that proxies may now reach otherwise."""
        self.world = world
        self._outdate_inbound(touched)
        again: set[str] = set()
        for facet in touched:
            if facet.aspect is Aspect.PROXY_DEFAULTS or facet.name == WILDCARD:
                found = set(self._upstreams)
            elif facet.aspect in _TO_ONE:
                found = self._turning.get(facet.name, set())
            else:
                continue
            if facet.aspect in _COMPOSED_OF:
                for service in found:
                    self._outdate(service)
            again |= found
        if any(facet.aspect in {Aspect.POLICIES_TO, Aspect.POLICIES_AT} for facet in touched):
            self._selector = Selector(world.policies)
            self._about_callers.clear()
            for known in self._upstreams.values():
                known.answers.clear()
        return frozenset(again)

    def _outdate_inbound(self, touched: Touched) -> None:
        for facet in touched:
            if facet.aspect in {Aspect.PROXY_DEFAULTS, Aspect.POLICIES_AT}:
                outdated = tuple(self._inbound)
            elif facet.aspect is Aspect.ENTRIES and facet.name in self._inbound:
                outdated = (facet.name,)
            else:
                continue
            for service in outdated:
                self._former[service] = self._inbound.pop(service, {})

    def _known(self, service: str) -> _Known:
        known = self._upstreams.get(service)
        if known is None:
            known = self._upstreams[service] = _Known()
            self._renew_chain(known, service)
        return known

    def _renew_chain(self, known: _Known, service: str) -> None:
        # What is pinned to a zone takes no chain, and turns on its service's entries all the same.
        service_alone = service.partition(PINNED)[0]
        try:
            known.chain = compile_chain(self.world.entries, service_alone, zone=self.world.zone)
            reads = known.chain.reads
        except ChainError as error:
            known.chain, reads = error, error.names
        except Exception as error:  # noqa: BLE001 - one upstream's entries must not stop the others
            unforeseen = f"its entries cannot be compiled: {error!r}"
            known.chain = ChainError.of(unforeseen, names=frozenset({service_alone}))
            reads = known.chain.names
        known.chain_names = reads | {service_alone}
        self._turn_on(known, service, known.chain_names)

    def _turn_on(self, known: _Known, service: str, names: frozenset[str]) -> None:
        for name in names - known.names:
            known.names.add(name)
            self._turning[name].add(service)

    def _outdate(self, service: str) -> None:
        known = self._upstreams[service]
        known.former = known.compiled or known.former
        known.compiled = {}
        known.answers.clear()
        self._renew_chain(known, service)

    def _compile(self, known: _Known, variant: Variant, caller: str, service: str) -> Compiled:
        # Another variant is rare: it compiles the chain once more, rather than all being kept.
        chain, known.chain = known.chain, None
        compiled = compile_traffic(self.world, variant[0], caller, service, chain)
        self._turn_on(known, service, compiled.names | {variant[1]} - {""})
        before = known.former.get(variant)
        if compiled.error is not None and before is None:
            before = _earlier(known.former, variant)
        if compiled.error is not None and before is not None:
            # What was good stands until the entries are mended; the error is told all the same.
            compiled = replace(before, error=compiled.error)
        elif before is not None and before.traffic == compiled.traffic:
            compiled = replace(compiled, traffic=before.traffic)
        else:
            shared = {
                target: self._destinations.setdefault(found, found)
                for target, found in compiled.traffic.destinations.items()
            }
            traffic = replace(compiled.traffic, destinations=shared)
            compiled = replace(compiled, traffic=traffic)
        known.compiled[variant] = compiled
        return compiled


def _earlier(former: Mapping[Variant, Compiled], variant: Variant) -> Compiled | None:
    """Return what stood for the callers of ``variant`` before their policies were written anew."""
    keys = {document.key for document in variant[0].documents}
    apart = {
        one: len(keys ^ {document.key for document in one[0].documents})
        for one, compiled in former.items()
        if one[1] == variant[1] and compiled.traffic.destinations
    }
    return former[min(apart, key=lambda one: apart[one])] if apart else None


def _relevant(known: _Known, said: Selection, service: str) -> Selection:
    """Return the policies that speak of calls to ``service``, or of where they may end."""
    if not said.documents:
        return NOTHING_SELECTED
    service = service.partition(PINNED)[0]
    routes = said.about([service])
    names = known.chain_names | route_targets(routes, service)
    by_route = [each.name for each in routes if each.kind == http_route.KIND.name]
    return Selection(said.about(names, by_route))


def _configures(world: World, caller: str) -> bool:
    """Whether the service-defaults of ``caller`` say how it treats its upstreams."""
    found = world.entries.service_defaults.get(caller)
    return found is not None and (
        bool(found.upstreams or found.gateway) or found.upstream != NO_UPSTREAM_DEFAULTS
    )


def _discard(index: defaultdict[str, set[str]], key: str, value: str) -> None:
    index[key].discard(value)
    if not index[key]:
        del index[key]
