"""The hub: news in, pushes out.

Every change is reduced into the world the moment it comes; what it touched is rendered and
pushed in one go at the end of the event loop's turn, so that news that came together goes out
together.  The first change after a quiet time waits for nothing.  After a push the next waits
as long as that one took, up to :data:`LONGEST_PAUSE`: under a storm the zone works at most half
of its time on pushes, and each push carries all that has come meanwhile.

The hub is the xDS server's directory: a proxy that connects gets its snapshot from the
renderer here, and the sources learn which services somebody depends on.  A proxy is told nothing
before everything it depends on is known.  One that comes back to a zone that has just started
goes on with what it has meanwhile; half a snapshot would take the other half from it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from typing import Final, Protocol

from mesh.envoy.resource import Snapshot
from mesh.model.identity import WorkloadId
from mesh.model.proxies import ProxyNeed
from mesh.render.parts import Part
from mesh.render.renderer import Renderer
from mesh.routing.chain import ChainError
from mesh.world.changes import Change
from mesh.world.facets import Aspect, Facet
from mesh.world.reduce import reduce
from mesh.world.snapshot import World

LONGEST_PAUSE: Final = 0.1
"""Seconds."""

logger = logging.getLogger(__name__)


class Observer(Protocol):
    """What is told of each push."""

    def pushed(self, *, sessions: int, seconds: float, waited: float) -> None:
        """A push reached ``sessions`` in ``seconds``, ``waited`` after its first change."""
        ...


class Hub:
    """Owns the world and the renderer of one zone."""

    def __init__(self, world: World, observer: Observer) -> None:
        """Start from ``world``, with nobody to tell yet."""
        self.changed = asyncio.Event()
        """Set by every change of the world; who waits for it clears it first."""
        self._renderer = Renderer(world)
        self._observer = observer
        self._publish: Callable[[Mapping[int, Snapshot]], None] = lambda _: None
        self._need: Callable[[frozenset[str]], None] = lambda _: None
        self._touched: set[Facet] = set()
        self._latest = world
        self._first_change = 0.0
        self._not_before = 0.0
        self._scheduled: asyncio.Handle | None = None
        self._closed = False
        self._held: set[int] = set()
        self._told: frozenset[str] | None = None
        self._followed: frozenset[str] = frozenset()
        self._reported: frozenset[Part | str] = frozenset()

    def attach(
        self,
        *,
        publish: Callable[[Mapping[int, Snapshot]], None],
        need: Callable[[frozenset[str]], None],
    ) -> None:
        """From now on hand snapshots to ``publish`` and needed services to ``need``.

        Server and source need the hub as the hub needs them; this closes the circle.
        """
        self._publish = publish
        self._need = need

    @property
    def world(self) -> World:
        """The world as of the last change."""
        return self._latest

    @property
    def unroutable(self) -> Mapping[str, ChainError]:
        """The upstreams that cannot be routed as their entries stand, and why."""
        return self._renderer.errors

    @property
    def standing(self) -> frozenset[str]:
        """The unroutable upstreams whose calls go on as they last could be routed."""
        return self._renderer.compositions.standing

    @property
    def broken(self) -> Mapping[Part | str, Exception]:
        """What could not be rendered or planned; what there was before stands."""
        return self._renderer.broken

    def emit(self, change: Change) -> None:
        """Take news from a source."""
        self._latest, touched = reduce(self._latest, change)
        if not touched:
            return
        loop = asyncio.get_running_loop()
        if not self._touched:
            self._first_change = loop.time()
        self._touched |= touched
        self.changed.set()
        if self._scheduled is None and not self._closed:
            if loop.time() >= self._not_before:
                self._scheduled = loop.call_soon(self._push)
            else:
                self._scheduled = loop.call_at(self._not_before, self._push)

    def follow(self, services: frozenset[str]) -> None:
        """Have the instances of ``services`` known too, whether or not a proxy needs them."""
        if services != self._followed:
            self._followed, self._told = services, None
            self._tell_need()

    def connect(self, session: int, identity: WorkloadId, need: ProxyNeed) -> Snapshot | None:
        """Take in a proxy (the xDS server has checked that identity and need agree).

        None means that its snapshot is published later.
        """
        # The renderer's world may lag behind by one push; the sources' next word makes it up.
        snapshot = self._renderer.connect(session, need)
        self._tell_need()
        complete = self._renderer.is_complete(session)
        if not complete:
            self._held.add(session)
            logger.info(
                "proxy waits until its upstreams are known",
                extra={"session": session, "identity": identity.uri},
            )
        return snapshot if complete else None

    def disconnect(self, session: int) -> None:
        """Forget a proxy."""
        self._renderer.disconnect(session)
        self._held.discard(session)
        self._tell_need()

    def snapshot(self, session: int) -> Snapshot | None:
        """Return what a connected proxy shall have now, None if it has gone."""
        return self._renderer.snapshot(session)

    def close(self) -> None:
        """Push no more."""
        self._closed = True
        if self._scheduled is not None:
            self._scheduled.cancel()
            self._scheduled = None

    def _tell_need(self) -> None:
        needed = self._renderer.needed
        if needed is not self._told:
            self._told = needed
            self._need(needed | self._followed)

    def _push(self) -> None:
        loop = asyncio.get_running_loop()
        self._scheduled = None
        began = loop.time()
        touched, self._touched = frozenset(self._touched), set()
        changed = self._renderer.advance(self._latest, touched)
        self._tell_need()
        if self._held or any(facet.aspect is Aspect.KNOWN for facet in touched):
            self._hold_incomplete(changed)
        if changed:
            self._publish(changed)
        took = loop.time() - began
        self._not_before = began + took + min(took, LONGEST_PAUSE)
        for part, error in self._renderer.broken.items():
            if part not in self._reported:
                logger.error(
                    "a part cannot be rendered; its last good rendering stands",
                    extra={"part": str(part)},
                    exc_info=error,
                )
        self._reported = frozenset(self._renderer.broken)
        if changed:
            self._observer.pushed(
                sessions=len(changed), seconds=took, waited=began - self._first_change
            )

    def _hold_incomplete(self, changed: dict[int, Snapshot]) -> None:
        """Leave out those of whose needs something is unknown, still or again."""
        for session in tuple(changed):
            if self._renderer.is_complete(session):
                self._held.discard(session)
            else:
                self._held.add(session)
                del changed[session]
