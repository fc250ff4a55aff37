"""Rollouts in a zone: what is measured, who counts it, and what is written."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mesh.controlplane.rollouts.conductor import Conductor
from mesh.controlplane.rollouts.store import MEASUREMENTS, Published, RolloutStore
from mesh.model.rollouts import Rollout
from mesh.policies.rollouts.figures import Figures
from mesh.policies.rollouts.state import Phase, State
from mesh.policies.rollouts.wishes import Wish, fulfil
from mesh.world.changes import (
    InstancesChanged,
    RolloutsChanged,
)
from tests.controlplane.rollouts import API, NAME, Place, document, entries


async def test_the_instances_sums_are_added_up(place: Place) -> None:
    await place.apply(document())
    await place.conductor.turn()
    found = await place.turn(one=Figures(60), two=Figures(30))
    assert found.reason == "waits for requests: 90 of 100"
    found = await place.turn(one=Figures(70), two=Figures(30))
    assert (found.step, found.weight) == (1, 50)
    found = await place.turn(one=Figures(120, 20), two=Figures(90))
    assert (found.phase, found.weight) == (Phase.ROLLED_BACK, 0)
    assert found.reason == "success rate 81.82% is below 99%"
    # Nobody needs them any more.
    await place.conductor.turn()
    assert (await place.consul.kv_keys(MEASUREMENTS)).value == ()


async def test_a_new_leader_goes_on_and_counts_nothing_twice(place: Place) -> None:
    await place.apply(document())
    await place.conductor.turn()
    await place.turn(one=Figures(60, 0))
    place.replaced()
    found = await place.turn(one=Figures(1060, 1000))
    assert (found.phase, found.canary_window.requests) == (Phase.PROGRESSING, 60)
    found = await place.turn(one=Figures(1100, 1000))
    assert (found.step, found.reason) == (1, "the gates are satisfied by 100 requests")


async def test_what_a_person_asked_meanwhile_is_not_overwritten(place: Place) -> None:
    await place.apply(document())
    await place.conductor.turn()

    class Slow(RolloutStore):
        async def measurements(self, name: str, run: str) -> Mapping[str, Published]:
            stored = await self.state(name)
            assert stored is not None
            wish = fulfil(Wish.ABORT, stored.state, place.clock.now())
            await self.put(name, wish, stored.index)
            return await super().measurements(name, run)

    place.conductor = Conductor(Slow(place.consul), place.hub, place.clock)
    found = await place.turn(one=Figures(1000))
    assert (found.phase, found.weight) == (Phase.ABORTED, 0)
    assert (await place.turn()).phase is Phase.ABORTED


async def test_why_it_does_not_begin_is_told(place: Place) -> None:
    await place.apply(document(canary={"subset": "v3"}))
    await place.conductor.turn()
    found = await place.state()
    assert found is not None
    assert found.phase is Phase.PENDING
    assert "v3" in found.reason
    place.hub.emit(InstancesChanged("api", API[:1]))
    await place.apply(document())
    await place.conductor.turn()
    found = await place.state()
    assert found is not None
    assert (found.phase, found.reason) == (Phase.PENDING, "v2.api has no healthy instance")


async def test_only_what_consul_still_holds_begins(place: Place) -> None:
    await place.apply(document())
    await place.consul.kv_delete("mesh/policies/", recurse=True)
    await place.conductor.turn()
    assert await place.state() is None


async def test_an_unfinished_rollout_without_a_document_is_forgotten(place: Place) -> None:
    await place.apply(document())
    await place.conductor.turn()
    place.hub.emit(RolloutsChanged({"api": Rollout(NAME, *_targets(await place.state()), 500)}))
    await place.apply()
    await place.conductor.turn()
    assert await place.state() is None


async def test_a_promoted_one_without_a_document_stays_while_calls_depend_on_it(
    place: Place,
) -> None:
    await place.apply(document())
    await place.conductor.turn()
    await place.turn(one=Figures(100))
    found = await place.turn(one=Figures(200))
    assert found.phase is Phase.PROMOTED
    place.hub.emit(RolloutsChanged({"api": found.rollout(NAME)}))
    await place.apply()
    await place.conductor.turn()
    found = await place.turn()
    assert (found.phase, found.weight) == (Phase.PROMOTED, 100)
    assert found.reason.startswith("its document was deleted")
    place.hub.emit(entries(default="v2"))
    await place.conductor.turn()
    assert await place.state() is None


def _targets(state: State | None) -> tuple[Any, Any]:
    assert state is not None
    return state.stable.target, state.canary.target
