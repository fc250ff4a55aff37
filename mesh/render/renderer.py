"""The renderer: who has which part, and what a change reaches.

It holds the world and a memo, and does no I/O.  :meth:`Renderer.advance` is the whole of a
push's thinking: parts that read a touched facet are rendered again; sessions that have a part
whose bytes changed, or whose plan read a touched facet, get a new snapshot; nobody else is
looked at.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TypeVar

from mesh.envoy.resource import TYPE_URLS, Resource, Snapshot
from mesh.model.proxies import ProxyNeed
from mesh.render.parts import Part
from mesh.render.plan import EVERY_PLAN, UPSTREAM_ASPECTS, Plan, plan, services_of
from mesh.world.facets import Facet
from mesh.world.reduce import Touched
from mesh.world.snapshot import World

K = TypeVar("K")
V = TypeVar("V")


@dataclass(slots=True)
class _Kept:
    """A part in use, by how many sessions, and what it rendered to.

    ``sessions`` says by which; it is left out where the part reads nothing of the world, as
    such a part never changes.
    """

    part: Part
    resources: tuple[Resource, ...]
    sessions: set[int] | None
    uses: int = 0


@dataclass(slots=True)
class _Session:
    need: ProxyNeed
    kept: tuple[_Kept, ...]
    snapshot: Snapshot


class Renderer:
    """Snapshots for the connected proxies, kept true to a world that moves on."""

    def __init__(self, world: World) -> None:
        """Start from ``world`` with no session."""
        self.world = world
        self._sessions: dict[int, _Session] = {}
        self._kept: dict[Part, _Kept] = {}
        # Who must be looked at when the world moves: parts that read a facet, and the sessions
        # that call a service.
        self._readers: defaultdict[Facet, set[Part]] = defaultdict(set)
        self._callers: defaultdict[str, set[int]] = defaultdict(set)
        self._needed: frozenset[str] | None = None
        self.broken: dict[Part, Exception] = {}
        """Parts whose last rendering failed; what they rendered to before stands."""

    @property
    def needed(self) -> frozenset[str]:
        """The services whose instances some session depends on."""
        if self._needed is None:
            self._needed = frozenset(self._callers)
        return self._needed

    @property
    def is_empty(self) -> bool:
        """Whether nothing is held for anybody."""
        return not any((self._sessions, self._kept, self._readers, self._callers))

    def connect(self, session: int, need: ProxyNeed) -> Snapshot:
        """Add ``session`` and return all it shall have."""
        kept = self._take(session, plan(self.world, need))
        for service in services_of(need):
            if service not in self._callers:
                self._needed = None
            self._callers[service].add(session)
        snapshot = _assemble(kept)
        self._sessions[session] = _Session(need, kept, snapshot)
        return snapshot

    def disconnect(self, session: int) -> None:
        """Forget ``session`` and whatever only it had; an unknown session is ignored."""
        gone = self._sessions.pop(session, None)
        if gone is None:
            return
        self._drop(session, gone.kept)
        for service in services_of(gone.need):
            _remove(self._callers, service, session)
            if service not in self._callers:
                self._needed = None

    def advance(self, world: World, touched: Touched) -> dict[int, Snapshot]:
        """Move on to ``world`` and return the new snapshot of every session that differs."""
        self.world = world
        changed: dict[int, Snapshot] = {}
        for number in self._render_again(touched) | self._plan_again(touched):
            session = self._sessions[number]
            session.snapshot = changed[number] = _assemble(session.kept)
        return changed

    def is_complete(self, session: int) -> bool:
        """Tell whether the instances of every service that ``session`` depends on are known."""
        return services_of(self._sessions[session].need) <= self.world.instances.keys()

    def snapshot(self, session: int) -> Snapshot | None:
        """Return what ``session`` shall have now, None if there is none of that number."""
        found = self._sessions.get(session)
        return found.snapshot if found is not None else None

    def _render_again(self, touched: Touched) -> set[int]:
        """Render the parts that read a touched facet; return who has one that came out new."""
        affected: set[int] = set()
        for part in {part for facet in touched for part in self._readers.get(facet, ())}:
            kept = self._kept[part]
            resources = self._render(kept)
            if resources != kept.resources:
                kept.resources = resources
                affected |= kept.sessions or set()
        return affected

    def _render(self, kept: _Kept) -> tuple[Resource, ...]:
        """Render a part again, or keep what it is: one that fails must not stop the others."""
        try:
            resources = kept.part.render(self.world)
        except Exception as error:  # noqa: BLE001 - whatever the input broke; the owner logs it
            self.broken[kept.part] = error
            return kept.resources
        self.broken.pop(kept.part, None)
        return resources

    def _plan_again(self, touched: Touched) -> set[int]:
        """Plan for the sessions whose plan may turn on a touched facet; return who has another."""
        affected: set[int] = set()
        for number in self._turning_on(touched):
            session = self._sessions[number]
            chosen = plan(self.world, session.need)
            if chosen != tuple(kept.part for kept in session.kept):
                # Taken before the former is dropped: what both have keeps its rendering.
                former, session.kept = session.kept, self._take(number, chosen)
                self._drop(number, former)
                affected.add(number)
        return affected

    def _turning_on(self, touched: Touched) -> set[int]:
        if touched & EVERY_PLAN:
            return set(self._sessions)
        found: set[int] = set()
        for facet in touched:
            if facet.aspect in UPSTREAM_ASPECTS:
                found |= self._callers.get(facet.name, set())
        return found

    def _take(self, session: int, chosen: Plan) -> tuple[_Kept, ...]:
        return tuple(self._use(session, part) for part in chosen)

    def _use(self, session: int, part: Part) -> _Kept:
        kept = self._kept.get(part)
        if kept is None:
            reads = part.reads()
            kept = _Kept(part, part.render(self.world), set() if reads else None)
            self._kept[part] = kept
            for facet in reads:
                self._readers[facet].add(part)
        kept.uses += 1
        if kept.sessions is not None:
            kept.sessions.add(session)
        return kept

    def _drop(self, session: int, former: tuple[_Kept, ...]) -> None:
        now = self._sessions[session].kept if session in self._sessions else ()
        for kept in former:
            kept.uses -= 1
            # By identity: a session's plan names a part once, and a part is kept once.
            if kept.sessions is not None and all(kept is not other for other in now):
                kept.sessions.discard(session)
            if not kept.uses:
                del self._kept[kept.part]
                self.broken.pop(kept.part, None)
                for facet in kept.part.reads():
                    _remove(self._readers, facet, kept.part)


def _assemble(parts: tuple[_Kept, ...]) -> Snapshot:
    by_type: dict[str, list[Resource]] = {type_url: [] for type_url in TYPE_URLS}
    for kept in parts:
        for resource in kept.resources:
            by_type[resource.type_url].append(resource)
    return {
        type_url: tuple(sorted(found, key=lambda one: one.name))
        for type_url, found in by_type.items()
    }


def _remove(index: dict[K, set[V]], key: K, value: V) -> None:
    found = index[key]
    found.discard(value)
    if not found:
        del index[key]
