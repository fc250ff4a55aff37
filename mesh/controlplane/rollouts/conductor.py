"""The leader's part: adds up what was measured, lets each rollout go on, writes where it stands.

Nothing that decides is kept here.  A leader that is new reads the states, takes what has been
measured until then as known, and goes on; what was called in between counts for nobody.  A write
that loses its compare-and-set (a person paused it, say) is decided anew from what stands then.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, NoReturn

from mesh.aio.clock import Clock
from mesh.clients.consul import ConsulError
from mesh.controlplane.hub import Hub
from mesh.controlplane.rollouts.store import Published, RolloutStore, Stored
from mesh.policies.document import Document
from mesh.policies.kinds.rollout import KIND, RolloutSpec
from mesh.policies.rollouts.figures import NOTHING
from mesh.policies.rollouts.progress import Observation, advance, begins_again, is_due, noted
from mesh.policies.rollouts.state import Phase
from mesh.routing.rollouts import obstacle, still_divides

_LONGEST: Final = 1.0
_SHORTEST: Final = 0.05
_SWEEP_EVERY: Final = 60.0
_ORPHANED: Final = (
    "its document was deleted, and calls would fall back to the stable version: it stays as it is "
    "until the service's resolver says otherwise, or `mesh rollout abort` is called"
)

logger = logging.getLogger(__name__)

Baselines = Mapping[str, Published]
"""What each instance had published when it was last counted."""


@dataclass(frozen=True, slots=True)
class _Counted:
    """An observation, and what is to be remembered once it is written."""

    seen: Observation
    published: Baselines


class Conductor:
    """One leader's term."""

    def __init__(self, store: RolloutStore, hub: Hub, clock: Clock) -> None:
        """Know nothing of what was before."""
        self._store = store
        self._hub = hub
        self._clock = clock
        self._baselines: dict[str, Baselines] = {}
        self._swept: tuple[frozenset[str] | None, float] = (None, 0.0)

    async def run(self) -> NoReturn:
        """Conduct until cancelled."""
        while True:
            try:
                pause = await self.turn()
            except ConsulError as error:
                logger.warning("rollouts stand still", extra={"reason": str(error)})
                pause = _LONGEST
            await self._clock.sleep(pause)

    async def turn(self) -> float:
        """Look at every rollout once; return the seconds after which to look again.

        Raises:
            ConsulError: Consul did not answer; the rest is for the next time.

        """
        world = self._hub.world
        documents = {one.name: one for one in world.policies.values() if one.kind == KIND.name}
        if not documents and not world.rollouts:
            await self._sweep(frozenset())
            return _LONGEST
        held = await self._store.states()
        pause = _LONGEST
        for name, document in sorted(documents.items()):
            if name not in held.unreadable and isinstance(document.spec, RolloutSpec):
                await self._conduct(document, document.spec, held.states.get(name))
                pause = min(pause, document.spec.interval / 4)
        for name in held.states.keys() - documents.keys():
            await self._orphaned(name, held.states[name])
        judged = (name for name, stored in held.states.items() if stored.state.phase.is_judged)
        await self._sweep(frozenset(judged))
        return max(pause, _SHORTEST)

    async def _conduct(self, document: Document, spec: RolloutSpec, stored: Stored | None) -> None:
        now = self._clock.now()
        before = stored.state if stored else None
        if before is not None and document.version < before.document:
            # What is known of the documents is behind what another leader knew.
            return
        judged = before is not None and is_due(spec, before, now)
        problem = ""
        if judged or before is None or begins_again(spec, before) or before.phase is Phase.PENDING:
            problem = obstacle(self._hub.world, document)
        counted = _Counted(Observation(problem=problem), {})
        if before is not None and judged:
            counted = await self._counted(document.name, before.run, problem)
        after = advance(spec, document.version, before, counted.seen, now)
        if after == before:
            return
        if stored is None and not await self._store.has_document(document.name):
            return
        if not await self._store.put(document.name, after, stored.index if stored else 0):
            return
        if counted.published:
            self._baselines[after.run] = counted.published
        if before is None or before.run != after.run:
            self._baselines[after.run] = {}
        if before is None or before.history != after.history:
            _tell(document.name, after.phase, after.step, after.weight, after.reason)

    async def _counted(self, name: str, run: str, problem: str) -> _Counted:
        published = await self._store.measurements(name, run)
        before = self._baselines.get(run)
        if before is None:
            # Whoever led before has counted it, or it is lost.
            return _Counted(Observation(problem=problem or "measures anew"), published)
        canary = stable = NOTHING
        answered = callers = 0
        for instance, now in published.items():
            then = before.get(instance)
            if then is not None and then.at == now.at:
                continue
            same = then is not None and then.began == now.began
            canary = canary.plus(now.canary.since(then.canary) if then and same else now.canary)
            stable = stable.plus(now.stable.since(then.stable) if then and same else now.stable)
            answered += now.answered
            callers += now.callers
        problem = problem or _silence(published)
        return _Counted(Observation(canary, stable, answered, callers, problem), published)

    async def _orphaned(self, name: str, stored: Stored) -> None:
        if await self._store.has_document(name):
            return
        state, world = stored.state, self._hub.world
        if state.phase is Phase.PROMOTED and still_divides(
            world.entries, state.stable.target, world.zone
        ):
            if state.reason != _ORPHANED:
                await self._store.put(
                    name, noted(state, _ORPHANED, self._clock.now()), stored.index
                )
                logger.warning("rollout %s: %s", name, _ORPHANED)
            return
        if await self._store.delete(name, stored.index):
            logger.info("rollout forgotten", extra={"rollout": name, "phase": state.phase.value})

    async def _sweep(self, judged: frozenset[str]) -> None:
        active, at = self._swept
        now = self._clock.monotonic()
        # While one is judged, an instance may be late with what it measured of another.
        if judged != active or (judged and now - at >= _SWEEP_EVERY):
            await self._store.sweep(judged)
            self._swept = (judged, now)


def _silence(published: Mapping[str, Published]) -> str:
    """Say why nothing could be learned; empty if something was."""
    callers = sum(each.callers for each in published.values())
    places = sum(each.places for each in published.values())
    if not callers:
        return "waits: no proxy that calls it is connected"
    if not places:
        return (
            f"waits: none of the {callers} proxies that call it can be asked; let their agents "
            "listen where the zone reaches them (setting `listen`)"
        )
    if not any(each.answered for each in published.values()):
        return f"waits: none of the {places} proxies that were asked answers"
    return ""


def _tell(name: str, phase: Phase, step: int, weight: float, reason: str) -> None:
    logger.info(
        "rollout",
        extra={
            "rollout": name,
            "phase": phase.value,
            "step": step + 1,
            "weight": weight,
            "reason": reason,
        },
    )
