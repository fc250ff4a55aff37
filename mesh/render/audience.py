"""Whom a change concerns: the sessions, by whom they call, which service they are and their role.

It is the renderer's index; what is planned for whom stands in the sessions themselves.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from typing import Final

from mesh.model.names import WILDCARD
from mesh.model.proxies import Role
from mesh.render.session import Place, Session, Side
from mesh.render.shelf import remove
from mesh.routing.memo import Compositions
from mesh.world.facets import Aspect, Facet
from mesh.world.reduce import Touched

_EVERYTHING: Final = frozenset(
    {Facet(Aspect.DEFAULT_POLICY), Facet(Aspect.INTENTIONS, WILDCARD), Facet(Aspect.PROXY_DEFAULTS)}
)
"""Facets that the plan of anything may turn on."""
_POLICIES: Final = frozenset({Aspect.POLICIES_TO, Aspect.POLICIES_AT})
_PASSING: Final = frozenset(
    {
        *(Aspect.CATALOG, Aspect.KNOWN, Aspect.ENTRIES, Aspect.POLICIES_AT, Aspect.POLICIES_TO),
        *(Aspect.EXPORTS, Aspect.ZONES, Aspect.PRESENT),
    }
)
"""Aspects that decide what passes gateways: what a zone lets others call, what it calls itself
outside, and whether that is known."""


class Audience:
    """The connected sessions, found by what they turn on."""

    def __init__(self, compositions: Compositions) -> None:
        """Start empty; ``compositions`` forgets whom nobody calls any longer."""
        self.sessions: dict[int, Session] = {}
        self.capturing: set[int] = set()
        self._compositions = compositions
        # Who must be looked at when the world moves: those that call a service, and that are one.
        self._callers: defaultdict[str, set[int]] = defaultdict(set)
        self._members: defaultdict[str, set[int]] = defaultdict(set)
        self._gateways: set[int] = set()

    @property
    def is_empty(self) -> bool:
        """Whether nobody is there, and nothing is kept of who was."""
        held = (self.sessions, self.capturing, self._callers, self._members, self._gateways)
        return not any(held)

    def add(self, number: int, session: Session) -> None:
        """Take in ``session``, whose slots say whom it calls."""
        need = session.need
        self.sessions[number] = session
        self._members[need.service].add(number)
        if need.role is not Role.SIDECAR:
            self._gateways.add(number)
        if need.capture is not None:
            self.capturing.add(number)
        for service in session.calls:
            self.calls(number, service)

    def remove(self, number: int) -> Session | None:
        """Let a session go, None if there is none; whom it calls is told one by one."""
        gone = self.sessions.pop(number, None)
        if gone is not None:
            self._gateways.discard(number)
            self.capturing.discard(number)
            remove(self._members, gone.need.service, number)
        return gone

    def has(self, service: str) -> bool:
        """Tell whether some session is an instance of ``service``."""
        return service in self._members

    def calls(self, number: int, service: str) -> None:
        """Note that a session calls ``service``."""
        self._callers[service].add(number)

    def calls_no_more(self, number: int, service: str) -> None:
        """Note that it does not, or that it has gone."""
        remove(self._callers, service, number)
        if service not in self._callers:
            self._compositions.forget(service)

    def turning_on(
        self, touched: Touched, again: frozenset[str]
    ) -> Iterator[tuple[int, Iterable[Place]]]:
        """Yield the sessions to look at, each with the places of its slots.

        ``again`` are the services that may now be reached otherwise.
        """
        # Asked whatever else there is: it also notes who is concerned by other policies now.
        concerned = self._concerned(touched)
        whole = self.sessions.keys() if touched & _EVERYTHING else concerned
        for number in tuple(whole):
            yield number, tuple(self.sessions[number].slots)
        callers = {number for service in again for number in self._callers.get(service, ())}
        for number in callers - whole:
            session = self.sessions[number]
            places: list[Place] = [
                place
                for place in session.slots
                if not isinstance(place, Side) and place.called in again
            ]
            yield number, places if again.isdisjoint(session.asks) else [Side.OWN, *places]

    def _concerned(self, touched: Touched) -> set[int]:
        """Return who is looked at as a whole: other policies, or other entries of his own.

        Policies that only say how a service is called are no such matter: it is one of those
        that may now be reached otherwise.
        """
        found: set[int] = set()
        aspects = {facet.aspect for facet in touched}
        if not aspects.isdisjoint(_PASSING):
            found |= self._gateways
        for facet in touched:
            if facet.aspect is Aspect.ENTRIES:
                found |= self._members.get(facet.name, set())
        if not aspects.isdisjoint(_POLICIES):
            for number, session in self.sessions.items():
                before, session.said = session.said, self._compositions.selection(session.need)
                if Aspect.POLICIES_AT in aspects and session.said != before:
                    found.add(number)
        return found
