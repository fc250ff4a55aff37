"""The renderer: who has which part, and what a change makes of it.

It holds the world and a memo, and does no I/O.  :meth:`Renderer.advance` is the whole of a
push's thinking: parts that read a touched facet are rendered again; upstreams that may now be
reached otherwise are planned again, for those who call them; sessions that have a part whose
bytes changed, or another plan, get a new snapshot; nobody else is looked at.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping

from mesh.envoy.resource import TYPE_URLS, Snapshot
from mesh.model.proxies import ProxyNeed
from mesh.render import plan, roles
from mesh.render.assembly import Kept, News, assemble, exclusive, renewed
from mesh.render.audience import Audience
from mesh.render.capture import captured
from mesh.render.needed import Needed
from mesh.render.patched import added, patched
from mesh.render.scope import Captured, Scopes
from mesh.render.session import EMPTY, Place, Session, Side, Slot
from mesh.render.shelf import Shelf
from mesh.routing.chain import ChainError
from mesh.routing.memo import Compositions
from mesh.world.reduce import Touched
from mesh.world.snapshot import World


class Renderer:
    """Snapshots for the connected proxies, kept true to a world that moves on."""

    def __init__(self, world: World) -> None:
        """Start from ``world`` with no session."""
        self.world = world
        self.compositions = Compositions(world)
        self._audience = Audience(self.compositions)
        self._shelf = Shelf(world)
        self._scopes = Scopes(world)
        self._needed = Needed()
        self.broken = self._shelf.broken
        """What could not be rendered or planned; what there was before stands."""

    @property
    def needed(self) -> frozenset[str]:
        """The services whose instances some session depends on."""
        return self._needed.services

    @property
    def errors(self) -> Mapping[str, ChainError]:
        """The upstreams that cannot be routed as their entries stand, and why."""
        return self.compositions.errors

    @property
    def is_empty(self) -> bool:
        """Whether nothing is held for anybody."""
        held = (self._audience, self._shelf, self.compositions, self._scopes)
        return not self.needed and all(each.is_empty for each in held)

    def connect(self, session: int, need: ProxyNeed) -> Snapshot:
        """Add ``session`` and return all it shall have."""
        added = Session(need, self.compositions.selection(need), {}, {})
        places: list[Place] = [Side.OWN, *need.upstreams, *self._scopes.of(need)]
        if need.capture is not None or need.dns is not None:
            places.append(Side.CAPTURE)
        added.slots = dict.fromkeys(places, EMPTY)
        self._audience.add(session, added)
        for place in added.slots:
            self._plan(session, added, place)
        added.snapshot = assemble(added.held(), TYPE_URLS)
        return added.snapshot

    def disconnect(self, session: int) -> None:
        """Forget ``session`` and whatever only it had; an unknown session is ignored."""
        gone = self._audience.remove(session)
        if gone is None:
            return
        calls = gone.calls
        slots, gone.slots = gone.slots, {}
        for slot in slots.values():
            self._drop(session, gone, slot)
        if not self._audience.has(gone.need.service):
            self.compositions.forget_callee(gone.need.service)
            self._scopes.forget(gone.need.service)
            for place in slots:
                self.broken.pop(gone.described(place), None)
        for service in calls.union(gone.asks):
            self._audience.calls_no_more(session, service)

    def advance(self, world: World, touched: Touched) -> dict[int, Snapshot]:
        """Move on to ``world`` and return the new snapshot of every session that differs."""
        self.world = self._shelf.world = world
        again = self.compositions.advance(world, touched)
        affected: defaultdict[int, News] = defaultdict(News)
        self._shelf.render_again(touched, affected)
        if self._scopes.advance(world, touched):
            self._scope_again(affected)
        self._plan_again(touched, again, affected)
        snapshots = {}
        for number, news in affected.items():
            session = self._audience.sessions[number]
            snapshot = renewed(session.snapshot, news, session.held())
            # Another plan may come to the same.
            if snapshot != session.snapshot:
                session.snapshot = snapshots[number] = snapshot
        return snapshots

    def is_complete(self, session: int) -> bool:
        """Tell whether the instances of every service that ``session`` depends on are known."""
        found = self._audience.sessions[session]
        return all(slot.planned or slot.kept for slot in found.slots.values())

    def snapshot(self, session: int) -> Snapshot | None:
        """Return what ``session`` shall have now, None if there is none of that number."""
        found = self._audience.sessions.get(session)
        return found.snapshot if found is not None else None

    def _plan_again(
        self, touched: Touched, again: frozenset[str], affected: Mapping[int, News]
    ) -> None:
        """Plan what may turn on a touched facet; tell who has another plan."""
        for number, places in self._audience.turning_on(touched, again):
            session = self._audience.sessions[number]
            for place in places:
                if place is not Side.CAPTURE:
                    self._plan_and_tell(number, session, place, affected)
            if Side.CAPTURE in session.slots:
                self._plan_and_tell(number, session, Side.CAPTURE, affected)

    def _scope_again(self, affected: Mapping[int, News]) -> None:
        """Give those who capture a slot for each that they may call now, and for nobody else."""
        for number in self._audience.capturing:
            session = self._audience.sessions[number]
            now = self._scopes.of(session.need)
            before = [place for place in session.slots if isinstance(place, Captured)]
            for place in set(before) - set(now):
                slot = session.slots.pop(place)
                affected[number].take(exclusive(slot.kept, ()), ())
                self._drop(number, session, slot)
                self.broken.pop(session.described(place), None)
                if place.called not in session.calls.union(session.asks):
                    self._audience.calls_no_more(number, place.called)
            for place in now:
                if place not in session.slots:
                    session.slots[place] = EMPTY
                    self._audience.calls(number, place.called)
                    self._plan_and_tell(number, session, place, affected)
            self._plan_and_tell(number, session, Side.CAPTURE, affected)

    def _plan_and_tell(
        self, number: int, session: Session, place: Place, affected: Mapping[int, News]
    ) -> None:
        before = session.slots[place].kept
        self._plan(number, session, place)
        now = session.slots[place].kept
        if now is not before:
            affected[number].take(exclusive(before, now), exclusive(now, before))

    def _plan(self, number: int, session: Session, place: Place) -> None:
        """Plan one slot; what it has is another tuple if it has other parts."""
        former = session.slots[place]
        try:
            chosen, services = self._chosen(number, session, place)
        except Exception as error:  # noqa: BLE001 - one bad input must not stop the others
            self.broken[session.described(place)] = error
            return
        if self.broken:
            self.broken.pop(session.described(place), None)
        known = services <= self.world.instances.keys()
        if not known:
            # What there was stands; it goes on being followed beside what is waited for.
            followed = services | former.follows
            self._needed.change(followed, former.services)
            session.slots[place] = Slot(former.kept, followed, planned=False)
            return
        if former.planned and tuple([kept.part for kept in former.kept]) == chosen:
            if former.services != services:
                self._needed.change(services, former.services)
                session.slots[place] = former._replace(services=services)
            return
        # Taken before the former is dropped: what both have keeps its rendering.
        kept = tuple([self._shelf.use(number, part) for part in chosen])
        session.slots[place] = Slot(kept, services, planned=True)
        self._needed.change(services, frozenset())
        self._drop(number, session, former, kept)

    def _chosen(
        self, number: int, session: Session, place: Place
    ) -> tuple[plan.Plan, frozenset[str]]:
        need, said = session.need, session.said
        match place:
            case Side.OWN:
                self._ask(number, session)
                parts, services = roles.own_side(self.world, need, said, self.compositions)
                return (*patched(parts, said), *added(said)), services
            case Side.CAPTURE:
                return patched(captured(need, said, session.doors), said), frozenset()
            case called:
                compiled = self.compositions.traffic(need.service, said, called.called)
                parts = plan.outbound(self.world, need, called, compiled.traffic)
                return patched(parts, said), compiled.services

    def _ask(self, number: int, session: Session) -> None:
        """Note which services the inbound side of ``session`` calls itself."""
        need = session.need
        asks = roles.asked(self.world, need, session.said, self.compositions)
        if asks != session.asks:
            before, session.asks = session.asks, asks
            for service in asks:
                self._audience.calls(number, service)
            for service in set(before) - session.calls - set(asks):
                self._audience.calls_no_more(number, service)

    def _drop(
        self, number: int, session: Session, former: Slot, now: tuple[Kept, ...] = ()
    ) -> None:
        """Let go of what ``session`` had in a slot, where it has ``now``."""
        self._needed.change(frozenset(), former.services)
        for kept in former.kept:
            if kept.sessions is not None and kept not in now and kept not in session.held():
                kept.sessions.discard(number)
            self._shelf.release(kept)
