"""Progressive delivery: a new version takes over while its calls go well, and only then.

``api`` has two subsets by its resolver; ``v2`` is the one instance ``api-3``.  Each test prints
what became of the rollout, as ``mesh rollout status`` tells it.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import grpc
import pytest
import pytest_asyncio

from mesh.cli.rollout_states import ask
from mesh.clients.consul import ConsulError
from mesh.controlplane.rollouts.store import RolloutStore
from mesh.policies.rollouts.state import PREFIX, Phase, State
from mesh.policies.rollouts.wishes import Wish
from tests.traffic.bed import Bed
from tests.traffic.services import SUBSETS
from tests.traffic.waiting import until

pytestmark = [pytest.mark.e2e, pytest.mark.asyncio(loop_scope="session")]

NAME = "api-v2"
Record = Callable[[str, object], None]


def rollout(
    *steps: tuple[float, str], gates: dict[str, Any] | None = None, failures: int = 1
) -> dict[str, Any]:
    """Return a document that judges quickly."""
    return {
        "type": "MeshRollout",
        "name": NAME,
        "spec": {
            "service": "api",
            "stable": {"subset": "v1"},
            "canary": {"subset": "v2"},
            "steps": [{"weight": weight, "hold": hold} for weight, hold in steps],
            "gates": gates or {"minRequests": 10, "successRate": {"min": 95}},
            "interval": "250ms",
            "failureLimit": failures,
        },
    }


@asynccontextmanager
async def load(bed: Bed, *, pause: float = 0.01) -> AsyncIterator[Counter[str]]:
    """Keep four callers calling; yield who answered, or else the status, and how often."""
    answers: Counter[str] = Counter()

    async def call() -> None:
        while True:
            answer = await bed.call("/load")
            answers[answer.instance if answer.status == 200 else str(answer.status)] += 1
            await asyncio.sleep(pause)

    async with asyncio.TaskGroup() as group:
        callers = [group.create_task(call()) for _ in range(4)]
        try:
            yield answers
        finally:
            for caller in callers:
                caller.cancel()


@pytest_asyncio.fixture(loop_scope="session")
async def versions(bed: Bed) -> AsyncIterator[Bed]:
    """The bed with the two subsets, and without a rollout afterwards."""
    await bed.entry("service-resolver", "api", DefaultSubset="v1", Subsets=SUBSETS)
    yield bed
    await bed.delete("MeshRollout", NAME)
    await bed.consul.kv_delete(PREFIX, recurse=True)


async def state(bed: Bed) -> State | None:
    try:
        stored = await RolloutStore(bed.consul).state(NAME)
    except ConsulError:
        return None
    return stored.state if stored else None


async def reaches(bed: Bed, done: Callable[[State], bool], what: str) -> State:
    """Wait until the rollout's state satisfies ``done``."""

    async def look() -> State | None:
        found = await state(bed)
        return found if found is not None and done(found) else None

    return await until(what, look, patience=40)


def in_phase(*phases: Phase) -> Callable[[State], bool]:
    return lambda found: found.phase in phases


def tell(record: Record, found: State, answers: Counter[str] | None = None) -> None:
    """Print what happened, and keep it with the test's result."""
    lines = [
        f"{event.at:%H:%M:%S.%f} {event.phase} step {event.step + 1} weight {event.weight:g}%: "
        f"{event.reason}"
        for event in found.history
    ]
    if found.observed:
        seen = found.observed
        lines.append(
            f"last judgement: {seen.requests} requests, success {seen.success_rate}% "
            f"(stable {seen.stable_success_rate}%), latency {seen.latency} ms, "
            f"{seen.proxies} proxies"
        )
    if answers is not None:
        lines.append(f"answers: {dict(answers)}")
    print("\n" + "\n".join(lines))  # noqa: T201 - the numbers are wanted
    record("rollout", lines)


async def test_a_rollout_promotes_itself_under_load(versions: Bed, record_property: Record) -> None:
    async with load(versions) as calls:
        await versions.apply(rollout((10, "500ms"), (50, "500ms")))
        found = await reaches(versions, in_phase(Phase.PROMOTED, Phase.ROLLED_BACK), "it ends")
        tell(record_property, found, calls)
        weights = [(event.phase.value, event.weight) for event in found.history]
        assert weights == [("Progressing", 10), ("Progressing", 50), ("Promoted", 100)]
        # Nobody who called noticed.
        assert set(calls) <= {"api-1", "api-2", "api-3"}
        await only(versions, {"api-3"})


async def test_a_canary_that_fails_is_rolled_back(versions: Bed, record_property: Record) -> None:
    canary = versions.apps["api-3"].behaviour
    async with load(versions) as calls:
        await versions.apply(rollout((20, "500ms"), (60, "30s")))
        await reaches(versions, lambda found: found.step == 1, "the second step")
        canary.status, canary.failures = 500, 10**6
        found = await reaches(versions, lambda found: found.phase.is_final, "it ends")
        tell(record_property, found, calls)
        assert (found.phase, found.weight) == (Phase.ROLLED_BACK, 0)
        assert found.observed is not None
        assert found.observed.success_rate is not None
        assert found.observed.success_rate < 95
        assert "success rate" in found.reason
        await only(versions, {"api-1", "api-2"})


async def test_a_canary_that_is_slow_is_rolled_back(versions: Bed, record_property: Record) -> None:
    versions.apps["api-3"].behaviour.delay = 0.2
    gates = {"minRequests": 5, "latency": {"percentile": 90, "max": "100ms"}}
    async with load(versions) as calls:
        await versions.apply(rollout((30, "30s"), gates=gates))
        found = await reaches(versions, lambda found: found.phase.is_final, "it ends")
        tell(record_property, found, calls)
    assert found.phase is Phase.ROLLED_BACK
    assert "latency p90" in found.reason
    assert found.observed is not None
    assert found.observed.latency is not None
    assert found.observed.latency >= 200


async def test_failed_grpc_calls_are_failures_though_http_says_200(
    versions: Bed, record_property: Record
) -> None:
    await versions.entry("service-resolver", "greeter", DefaultSubset="v1", Subsets=SUBSETS)
    canary = versions.apps["greeter-2"].behaviour
    canary.grpc_status, canary.failures = grpc.StatusCode.INTERNAL, 10**6
    document = rollout((50, "30s"))
    document["spec"]["service"] = "greeter"
    async with asyncio.timeout(30):
        await versions.apply(document)
        found = await state(versions)
        while found is None or not found.phase.is_final:
            await asyncio.gather(*(versions.rpc() for _ in range(8)))
            found = await state(versions)
    tell(record_property, found)
    assert found.phase is Phase.ROLLED_BACK
    assert found.observed is not None
    assert found.observed.success_rate == 0


async def test_pause_resume_promote_and_abort(versions: Bed, record_property: Record) -> None:
    address = versions.consul.address
    async with load(versions):
        await versions.apply(rollout((20, "300ms"), (40, "300ms"), (60, "60s")))
        await reaches(versions, in_phase(Phase.PROGRESSING), "it begins")
        held = await ask(address, Wish.PAUSE, NAME)
        assert held.phase is Phase.PAUSED
        later = await reaches(versions, lambda found: found.judged_at > held.judged_at, "judged")
        assert (later.phase, later.step) == (Phase.PAUSED, held.step)
        await ask(address, Wish.RESUME, NAME)
        await reaches(versions, lambda found: found.step == 2, "the last step")
        await ask(address, Wish.PROMOTE, NAME)
        await only(versions, {"api-3"})
        await ask(address, Wish.ABORT, NAME)
        await only(versions, {"api-1", "api-2"})
    found = await state(versions)
    assert found is not None
    tell(record_property, found)
    assert found.reason == "aborted on request"


async def test_a_zone_that_was_killed_goes_on_where_it_was(
    versions: Bed, record_property: Record
) -> None:
    zone = versions.estate.zone
    assert zone is not None
    async with load(versions, pause=0.05) as calls:
        await versions.apply(rollout((20, "300ms"), (40, "3s")))
        before = await reaches(versions, lambda found: found.step == 1, "the second step")
        await zone.kill()
        served = calls.total()
        await versions.estate.start_zone()
        # Nobody needs the zone to be served.
        assert calls.total() > served
        again = await reaches(versions, lambda found: found.judged_at > before.judged_at, "judged")
        assert (again.run, again.history[:2]) == (before.run, before.history[:2])
        found = await reaches(versions, lambda found: found.phase.is_final, "it ends")
        tell(record_property, found, calls)
        weights = [(event.phase.value, event.weight) for event in found.history]
        assert weights == [("Progressing", 20), ("Progressing", 40), ("Promoted", 100)]
        assert set(calls) <= {"api-1", "api-2", "api-3"}
    await versions.in_sync()


async def only(bed: Bed, instances: set[str]) -> None:
    """Wait until these instances, and no others, answer."""

    async def look() -> bool | None:
        return True if set(await bed.tally(16)) <= instances else None

    await until(f"only {instances} answer", look)
