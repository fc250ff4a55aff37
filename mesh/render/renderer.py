"""The renderer: who has which part, and what a change reaches.

It holds the world and a memo, and does no I/O.  :meth:`Renderer.advance` is the whole of a
push's thinking: parts that read a touched facet are rendered again; sessions that have a part
whose bytes changed, or whose plan read a touched facet, get a new snapshot; nobody else is
looked at.
"""

from __future__ import annotations

from collections import Counter, defaultdict
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
class _Session:
    need: ProxyNeed
    plan: Plan
    snapshot: Snapshot


class Renderer:
    """Snapshots for the connected proxies, kept true to a world that moves on."""

    def __init__(self, world: World) -> None:
        """Start from ``world`` with no session."""
        self.world = world
        self._sessions: dict[int, _Session] = {}
        self._rendered: dict[Part, tuple[Resource, ...]] = {}
        self._uses: Counter[Part] = Counter()
        # Plans share one object of each part, too.
        self._same: dict[Part, Part] = {}
        # Who must be looked at when the world moves: parts that read a facet, the sessions that
        # have such a part (one that reads nothing never changes), and those that call a service.
        self._readers: defaultdict[Facet, set[Part]] = defaultdict(set)
        self._holders: defaultdict[Part, set[int]] = defaultdict(set)
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
        return not any(
            (
                self._sessions,
                self._rendered,
                self._uses,
                self._same,
                self._readers,
                self._holders,
                self._callers,
            )
        )

    def connect(self, session: int, need: ProxyNeed) -> Snapshot:
        """Add ``session`` and return all it shall have."""
        chosen = self._take(session, plan(self.world, need))
        for service in services_of(need):
            if service not in self._callers:
                self._needed = None
            self._callers[service].add(session)
        snapshot = self._assemble(chosen)
        self._sessions[session] = _Session(need, chosen, snapshot)
        return snapshot

    def disconnect(self, session: int) -> None:
        """Forget ``session`` and whatever only it had; an unknown session is ignored."""
        gone = self._sessions.pop(session, None)
        if gone is None:
            return
        self._drop(session, gone.plan)
        for service in services_of(gone.need):
            _remove(self._callers, service, session)
            if service not in self._callers:
                self._needed = None

    def advance(self, world: World, touched: Touched) -> dict[int, Snapshot]:
        """Move on to ``world`` and return the new snapshot of every session that differs."""
        self.world = world
        affected = self._render_again(touched) | self._plan_again(touched)
        changed: dict[int, Snapshot] = {}
        for number in affected:
            session = self._sessions[number]
            session.snapshot = self._assemble(session.plan)
            changed[number] = session.snapshot
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
        stale = {part for facet in touched for part in self._readers.get(facet, ())}
        for part in stale:
            resources = self._render(part)
            if resources != self._rendered[part]:
                self._rendered[part] = resources
                affected |= self._holders[part]
        return affected

    def _render(self, part: Part) -> tuple[Resource, ...]:
        """Render ``part`` again, or keep what it is: one that fails must not stop the others."""
        try:
            resources = part.render(self.world)
        except Exception as error:  # noqa: BLE001 - whatever the input broke; the owner logs it
            self.broken[part] = error
            return self._rendered[part]
        self.broken.pop(part, None)
        return resources

    def _plan_again(self, touched: Touched) -> set[int]:
        """Plan for the sessions whose plan may turn on a touched facet; return who has another."""
        affected: set[int] = set()
        for number in self._turning_on(touched):
            session = self._sessions[number]
            chosen = plan(self.world, session.need)
            if chosen != session.plan:
                # Taken before the former is dropped: what both have keeps its rendering.
                former, session.plan = session.plan, self._take(number, chosen)
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

    def _take(self, session: int, chosen: Plan) -> Plan:
        chosen = tuple(self._same.setdefault(part, part) for part in chosen)
        for part in chosen:
            reads = part.reads()
            if part not in self._rendered:
                self._rendered[part] = part.render(self.world)
                for facet in reads:
                    self._readers[facet].add(part)
            self._uses[part] += 1
            if reads:
                self._holders[part].add(session)
        return chosen

    def _drop(self, session: int, former: Plan) -> None:
        kept = self._sessions[session].plan if session in self._sessions else ()
        for part in former:
            reads = part.reads()
            if reads and part not in kept:
                _remove(self._holders, part, session)
            self._uses[part] -= 1
            if not self._uses[part]:
                del self._uses[part]
                del self._rendered[part], self._same[part]
                self.broken.pop(part, None)
                for facet in reads:
                    _remove(self._readers, facet, part)

    def _assemble(self, chosen: Plan) -> Snapshot:
        by_type: dict[str, list[Resource]] = {type_url: [] for type_url in TYPE_URLS}
        for part in chosen:
            for resource in self._rendered[part]:
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
