"""What a reference to a service ends at: Consul's resolvers, followed.

A reference names a service and perhaps a subset of it.  The service's resolver may send it on
to another (redirect) or choose the subset (default subset); that is repeated until it stands
still, at a *place*.  The resolver found there says which instances the subset has, how long a
connection may take, how instances are chosen, and where calls turn to when there is none
(failover).  Failover references are followed the same way, but the failover of the place where
they end plays no part.

A :class:`Walk` follows any number of references for one chain, notes every service it looks at,
and collects everything that is wrong instead of stopping at the first.  Source: Consul's
reference of service-resolver, and the answers of a real Consul (``tests/routing``).
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from types import MappingProxyType

from mesh.model.destinations import LoadBalancing, Selection, Target
from mesh.model.entries import Entries, Resolver, Subset
from mesh.model.requests import NO_ORIGINS, Origins
from mesh.model.services import Protocol
from mesh.model.violations import Violation
from mesh.routing.chain.errors import ChainError, Fault
from mesh.routing.chain.places import Blame, Place, label

CONNECT_TIMEOUT = 5.0
"""Seconds, where no resolver says another: Consul's default."""

_ANY_SUBSET = "*"
_WHOLE_SERVICE = Subset()


@dataclass(frozen=True, slots=True)
class Resolved:
    """What a reference ends at.

    ``failover`` never repeats an earlier selection; where no entry says one, ``fails_over`` is
    false.  ``origins`` tells of the settings that an entry said: ``connect_timeout`` is Consul's
    default where it is not among them.
    """

    selection: Selection
    failover: tuple[Selection, ...] = ()
    connect_timeout: float = CONNECT_TIMEOUT
    request_timeout: float | None = None
    balancing: LoadBalancing | None = None
    reads: frozenset[str] = frozenset()
    fails_over: bool = False
    origins: Origins = field(default_factory=lambda: NO_ORIGINS, compare=False)

    @property
    def target(self) -> Target:
        """The service, and the subset of it, that calls go to."""
        return self.selection.target


@dataclass(slots=True)
class Walk:
    """Follows references within one chain.  ``zone`` is our own, if it is known."""

    entries: Entries
    zone: str = ""
    faults: dict[Fault, None] = field(default_factory=dict)
    reads: set[str] = field(default_factory=set)
    resolved: dict[Target, Resolved] = field(default_factory=dict)
    speaker: str = ""
    """The service that settled the chain's protocol: the first that the walk came to."""

    @property
    def protocol(self) -> Protocol:
        """What the chain speaks."""
        return self.entries.protocol(self.speaker)

    def blame(self, blame: Blame, message: str) -> None:
        """Note that something is wrong."""
        self.faults[Fault(blame.entry, Violation(blame.path, message))] = None

    def close(self) -> None:
        """Raise :class:`ChainError` if anything was noted."""
        if self.faults:
            raise ChainError(tuple(self.faults), frozenset(self.reads))

    def hear(self, service: str, blame: Blame) -> None:
        """Hold ``service`` against the chain's protocol, which the first one settles."""
        self.reads.add(service)
        if not self.speaker:
            self.speaker = service
        elif service != self.speaker:
            spoken, expected = self.entries.protocol(service), self.protocol
            if spoken is not expected:
                self.blame(
                    blame,
                    f"{service} speaks {spoken} and {self.speaker} {expected}: "
                    "one chain has one protocol, see their service-defaults",
                )

    def resolve(self, service: str, subset: str, blame: Blame, *, zone: str = "") -> Target | None:
        """Follow a reference, keep what it ends at and return its target.

        None means that it ends nowhere, which was noted.
        """
        place = self._settle(Place(service, subset, zone), blame)
        if place is None:
            return None
        target = place.target
        if target not in self.resolved:
            self.resolved[target] = self._look(place, target)
        return target

    def _settle(self, place: Place, blame: Blame) -> Place | None:
        trail: list[Place] = []
        while True:
            self.hear(place.service, blame)
            resolver = self.entries.resolvers.get(place.service)
            if place in trail:
                self._blame_loop(trail[trail.index(place) :])
                return None
            trail.append(place)
            following, step = self._step(place, resolver)
            if following == place:
                break
            place, blame = following, step
        return place if self._stands(place, resolver, blame) else None

    def _step(self, place: Place, resolver: Resolver | None) -> tuple[Place, Blame]:
        if resolver is not None:
            entry = label("resolver", place.service)
            if (there := resolver.redirect) is not None:
                moved = self._moved(place, there.service, there.subset, there.zone)
                if moved != place:
                    return moved, Blame(entry, "Redirect")
            if resolver.default_subset and not place.subset:
                return place._replace(subset=resolver.default_subset), Blame(entry, "DefaultSubset")
        return place, Blame("", "")

    def _moved(self, place: Place, service: str, subset: str, zone: str) -> Place:
        moved = place.moved(service, subset, zone)
        return moved._replace(zone="") if moved.zone and moved.zone == self.zone else moved

    def _stands(self, place: Place, resolver: Resolver | None, blame: Blame) -> bool:
        """Whether a reference may end at ``place``; if not, that is noted."""
        if place.subset and (resolver is None or place.subset not in resolver.subsets):
            at = blame if blame.path in {"", "DefaultSubset"} else blame.at("ServiceSubset")
            self.blame(
                at,
                f'{place.service} has no subset "{place.subset}": '
                f"service-resolver {place.service} defines {_listed(resolver)}",
            )
            return False
        defaults = self.entries.service_defaults.get(place.service)
        if resolver is None or defaults is None or not defaults.external_sni:
            return True
        forbidden = {
            "Redirect": resolver.redirect is not None,
            "Subsets": bool(resolver.subsets),
            "Failover": bool(resolver.failover),
        }
        for path, present in forbidden.items():
            if present:
                self.blame(
                    Blame(label("resolver", place.service), path),
                    f"service-defaults {place.service} has an ExternalSNI: "
                    "an external service has no redirect, subsets or failover",
                )
        return not any(forbidden.values())

    def _blame_loop(self, loop: list[Place]) -> None:
        # One loop is told in the same words wherever it is entered, so that it is told once.
        first = loop.index(min(loop))
        ring = [*loop[first:], *loop[: first + 1]]
        places = " → ".join(map(str, ring))
        self.blame(
            Blame(label("resolver", ring[0].service), "Redirect"), f"a loop of redirects: {places}"
        )

    def _look(self, place: Place, target: Target) -> Resolved:
        resolver = self.entries.resolvers.get(place.service)
        if resolver is None:
            return Resolved(Selection(target), reads=frozenset((place.service,)))
        failover: tuple[Selection, ...] = ()
        reads = frozenset((place.service,))
        if resolver.failover:
            outer, self.reads = self.reads, {place.service}
            failover = self._failover(place, resolver)
            reads, self.reads = frozenset(self.reads), outer | self.reads
        return Resolved(
            selection=_selection(target, resolver),
            failover=failover,
            connect_timeout=resolver.connect_timeout or CONNECT_TIMEOUT,
            request_timeout=seconds(resolver.request_timeout),
            balancing=resolver.balancing,
            reads=reads,
            fails_over=bool({place.subset, _ANY_SUBSET} & resolver.failover.keys()),
            origins=MappingProxyType(_origins(resolver)),
        )

    def _failover(self, place: Place, resolver: Resolver) -> tuple[Selection, ...]:
        key = place.subset if place.subset in resolver.failover else _ANY_SUBSET
        blame = Blame(label("resolver", place.service), f'Failover["{key}"]')
        chosen: dict[Target, Selection] = {}
        for one in resolver.failover.get(key, ()):
            asked = self._moved(place, one.service, one.subset, one.zone)
            there = None if asked == place else self._settle(asked, blame)
            if there is not None and there != place:
                found = self.entries.resolvers.get(there.service)
                chosen.setdefault(there.target, _selection(there.target, found))
        return tuple(chosen.values())


def resolve(
    entries: Entries,
    service: str,
    subset: str = "",
    *,
    zone: str = "",
    by: str = "",
    at: str = "",
) -> Resolved:
    """Return what a reference to ``service`` (or its ``subset``) ends at.

    ``zone`` is our own: a reference that names it stays here.  ``at`` is the zone that the
    reference names, if it names another.  ``by`` made the reference, and is to blame if it ends
    nowhere.

    Raises:
        ChainError: it ends nowhere.

    """
    walk = Walk(entries, zone)
    blame = Blame(by or label("resolver", service), "")
    target = walk.resolve(service, subset, blame, zone="" if at == zone else at)
    walk.close()
    if target is None:
        raise AssertionError("a reference that ends nowhere leaves a fault")
    return replace(walk.resolved[target], reads=frozenset(walk.reads))


def seconds(said: float) -> float | None:
    """Return a timeout as the intermediate form has it.

    Consul leaves a timeout of 0 to the proxy's default and turns it off if it is negative.
    """
    return None if said == 0 else max(said, 0.0)


def _selection(target: Target, resolver: Resolver | None) -> Selection:
    subset = resolver.subsets.get(target.subset, _WHOLE_SERVICE) if resolver else _WHOLE_SERVICE
    return Selection(target, subset.filter, subset.only_passing)


def _origins(resolver: Resolver) -> dict[str, str]:
    entry = label("resolver", resolver.name)
    said = (
        ("connect_timeout", resolver.connect_timeout),
        ("request_timeout", resolver.request_timeout),
        ("balancing", resolver.balancing),
        ("failover", resolver.failover),
    )
    return {name: entry for name, value in said if value}


def _listed(resolver: Resolver | None) -> str:
    return ", ".join(sorted(resolver.subsets)) if resolver and resolver.subsets else "none"
