"""The renderer: who has which part, and what a change reaches.

It holds the world and a memo, and does no I/O.  :meth:`Renderer.advance` is the whole of a
push's thinking: parts that read a touched facet are rendered again; sessions that have a part
whose bytes changed, or whose plan read a touched facet, get a new snapshot; nobody else is
looked at.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from typing import TypeVar

from mesh.envoy.resource import TYPE_URLS, Resource, Snapshot
from mesh.model.proxies import ProxyNeed
from mesh.render.parts import Part
from mesh.render.plan import Plan, plan, services_of
from mesh.world.facets import Facet
from mesh.world.reduce import Touched
from mesh.world.snapshot import World

K = TypeVar("K")
V = TypeVar("V")


@dataclass(slots=True)
class _Rendered:
    """A part in use: its resources and the sessions that have it."""

    resources: tuple[Resource, ...]
    reads: tuple[Facet, ...]
    sessions: set[int] = field(default_factory=set)


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
        self._parts: dict[Part, _Rendered] = {}
        self._sessions: dict[int, _Session] = {}
        self._parts_reading: defaultdict[Facet, set[Part]] = defaultdict(set)
        self._sessions_reading: defaultdict[Facet, set[int]] = defaultdict(set)
        self._needed: defaultdict[str, int] = defaultdict(int)

    @property
    def needed(self) -> frozenset[str]:
        """The services whose instances some session depends on."""
        return frozenset(self._needed)

    @property
    def is_empty(self) -> bool:
        """Whether nothing is held for anybody."""
        kept = (self._sessions, self._parts, self._parts_reading, self._sessions_reading)
        return not any(kept) and not self._needed

    def connect(self, session: int, need: ProxyNeed) -> Snapshot:
        """Add ``session`` and return all it shall have."""
        chosen = plan(self.world, need)
        self._adopt(session, chosen)
        self._sessions[session] = _Session(need, chosen, self._assemble(chosen))
        for service in services_of(need):
            self._needed[service] += 1
        return self._sessions[session].snapshot

    def disconnect(self, session: int) -> None:
        """Forget ``session`` and whatever only it had; an unknown session is ignored."""
        gone = self._sessions.pop(session, None)
        if gone is None:
            return
        self._release(session, gone.plan)
        for service in services_of(gone.need):
            self._needed[service] -= 1
            if not self._needed[service]:
                del self._needed[service]

    def advance(self, world: World, touched: Touched) -> dict[int, Snapshot]:
        """Move on to ``world`` and return the new snapshot of every session that differs."""
        self.world = world
        replan: set[int] = set()
        affected: set[int] = set()
        stale: set[Part] = set()
        for facet in touched:
            replan |= self._sessions_reading.get(facet, set())
            stale |= self._parts_reading.get(facet, set())
        for part in stale:
            rendered = self._parts[part]
            resources = part.render(world)
            if resources != rendered.resources:
                rendered.resources = resources
                affected |= rendered.sessions
        for number in replan:
            session = self._sessions[number]
            chosen = plan(world, session.need)
            if chosen != session.plan:
                former, session.plan = session.plan, chosen
                # Adopt first: a part that both plans have keeps its rendering.
                self._adopt(number, chosen, instead_of=former)
                affected.add(number)
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

    def _adopt(self, session: int, chosen: Plan, instead_of: Plan | None = None) -> None:
        for part in chosen.parts:
            rendered = self._parts.get(part)
            if rendered is None:
                reads = part.reads()
                rendered = self._parts[part] = _Rendered(part.render(self.world), reads)
                for facet in reads:
                    self._parts_reading[facet].add(part)
            rendered.sessions.add(session)
        if instead_of is not None:
            kept = frozenset(chosen.parts)
            parts = tuple(part for part in instead_of.parts if part not in kept)
            self._release(session, Plan(parts, instead_of.reads - chosen.reads))
        for facet in chosen.reads:
            self._sessions_reading[facet].add(session)

    def _release(self, session: int, former: Plan) -> None:
        for part in former.parts:
            rendered = self._parts[part]
            rendered.sessions.discard(session)
            if not rendered.sessions:
                del self._parts[part]
                for facet in rendered.reads:
                    _remove(self._parts_reading, facet, part)
        for facet in former.reads:
            _remove(self._sessions_reading, facet, session)

    def _assemble(self, chosen: Plan) -> Snapshot:
        by_type: dict[str, list[Resource]] = {type_url: [] for type_url in TYPE_URLS}
        for part in chosen.parts:
            for resource in self._parts[part].resources:
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
