"""Traffic management goes on while what made it is away, comes back, or makes no sense.

The zone is killed, its registry with it; policies cannot be read; they change without a pause.
No request fails that no policy asked to fail.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from mesh.policies.registry import KINDS
from tests.traffic.callee import rules
from tests.traffic.small import Small, embedded, manage, used_up
from tests.traffic.steady import Load, as_split
from tests.traffic.waiting import until

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.alone,
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.timeout(120),
]

GUARD = "MeshRequestAuthentication"
TREATS_CALLS = (
    "MeshTimeout",
    "MeshRetry",
    "MeshCircuitBreaker",
    "MeshHealthCheck",
    "MeshLoadBalancingStrategy",
    "MeshProxyPatch",
)
"""Kinds whose examples refuse no call; those of the others are turned on another service."""
CHANGES = 200
Steps = list[tuple[str, int, bool]]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def small(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Small]:
    """An estate whose traffic is managed in every way at once."""
    async with embedded(tmp_path_factory.mktemp("faults")) as found:
        await manage(found)
        yield found


async def kill_zone(small: Small) -> None:
    assert small.estate.zone is not None
    await small.estate.zone.kill()


async def write(small: Small, kind: str, name: str, document: object, **more: Any) -> None:
    """Write a policy past everybody who would refuse it."""
    held = {"version": 1, "document": document, "applied_at": "2025-01-01T00:00:00Z", **more}
    await small.consul.kv_put(f"mesh/policies/default/{kind}/{name}", json.dumps(held).encode())


async def unwrite(small: Small, kind: str, name: str) -> None:
    await small.consul.kv_delete(f"mesh/policies/default/{kind}/{name}")


async def standing(small: Small, name: str) -> str:
    """Wait until the zone names the policy, and return what it says holds instead."""

    async def ask() -> str | None:
        async with small.zone() as zone:
            found = (await zone.problems())["problems"]
        return next((str(one["standing"]) for one in found if one["name"] == name), None)

    return await until(f"the zone names {name}", ask)


async def test_zone_and_registry_killed_under_load_and_back(small: Small) -> None:
    versions, changes = await small.versions(), await small.changes()
    async with Load(small) as load:
        await load.reach(100)
        await kill_zone(small)
        await load.reach(300)
        await small.estate.start_zone()
        await small.in_sync()
        await load.reach(300)
    assert load.wrong == {}
    assert as_split(load.shares)
    assert await small.versions() == versions
    assert await small.changes() == changes


async def test_guards_that_cannot_be_read_open_nothing(small: Small) -> None:
    """One never could be read; one could, until somebody wrote it as a newer release would."""
    later = rules(GUARD, "[{default: {providers: [corporate], audience: later}}]", service="other")
    turns = rules(
        GUARD,
        "[{matches: [{path: {type: Exact, value: /guarded}}], default: {providers: [nobody]}}]",
        service="other",
        name="turns",
    )

    async def status(path: str = "/") -> int:
        return (await small.call(path, service="other")).status

    async with Load(small) as load:
        await small.commit(turns)
        await small.answered(403, "/guarded", service="other")
        await write(small, GUARD, "turns", {**turns, "mesh": "default", "later": 1})
        assert await standing(small, f"{GUARD} turns") == "the last good version stands"
        assert [await status("/guarded"), await status()] == [403, 200]
        await write(small, GUARD, "later", {**later, "name": "later", "mesh": "default"})
        refused = await small.answered(403, service="other")
        assert f"{GUARD} later cannot be read" in refused.text
        assert "refuse every request" in await standing(small, f"{GUARD} later")
        await unwrite(small, GUARD, "later")
        await small.answered(200, service="other")
        await kill_zone(small)
        assert [await status("/guarded"), await status()] == [403, 200]
        await small.estate.start_zone()
        # To a zone that starts, this one never was good either.
        await small.answered(403, service="other")
        assert await status("/guarded") == 403
        assert "refuse every request" in await standing(small, f"{GUARD} turns")
        await small.commit(turns)
        await small.answered(200, service="other")
        assert await status("/guarded") == 403
        await small.commit(gone=((GUARD, "turns"),))
        await small.answered(200, "/guarded", service="other")
        await load.reach(100)
    assert load.wrong == {}


def drawn() -> Steps:
    """Draw changes of policies: which kind, which of three names, and whether it is deleted."""
    found: list[Steps] = []
    step = st.tuples(st.sampled_from(sorted(KINDS)), st.integers(0, 5), st.booleans())

    @settings(max_examples=10, database=None, deadline=None)
    @given(st.lists(step, min_size=CHANGES, max_size=CHANGES))
    def draw(steps: Steps) -> None:
        found.append(steps)

    draw()
    # The first example is always the simplest.
    return max(found, key=lambda steps: len(set(steps)))


def example(kind: str, number: int) -> dict[str, Any]:
    """Return the example of ``kind`` as policy ``number``; odd ones concern fewer proxies."""
    text = KINDS[kind].example
    text = text.replace("reports", "api") if kind in TREATS_CALLS else text.replace("api", "other")
    found: dict[str, Any] = yaml.safe_load(text)
    if number % 2 and "targetRef" in found["spec"]:
        found["spec"]["targetRef"]["labels"]["version"] = "v1"
    return {**found, "name": name_of(number)}


def name_of(number: int) -> str:
    """Return one of three names."""
    return f"churn-{number // 2}"


def weight(pid: int) -> tuple[int, int]:
    """Return a process's resident memory in MiB, and how many files it has open."""
    status = Path(f"/proc/{pid}/status").read_text()
    resident = next(line for line in status.splitlines() if line.startswith("VmRSS"))
    return int(resident.split()[1]) // 1024, len(list(Path(f"/proc/{pid}/fd").iterdir()))


async def test_policies_change_without_a_pause(small: Small) -> None:
    assert small.estate.zone is not None
    pid, refused = small.estate.zone.pid, await small.nacks()
    stands: dict[tuple[str, str], int] = {}
    weights = []
    async with Load(small) as load:
        for place, (kind, number, deleted) in enumerate(drawn()):
            if place in {CHANGES // 2, CHANGES - 1}:
                await small.in_sync()
                weights.append(weight(pid))
            key = (kind, name_of(number))
            if deleted and key in stands:
                del stands[key]
                await small.commit(gone=(key,))
            else:
                # Where it stands already, its other form.
                stands[key] = number ^ 1 if stands.get(key) == number else number
                await small.commit(example(kind, stands[key]))
        for key in stands:
            await small.commit(gone=(key,))
        await small.in_sync()
        await load.reach(100)
    assert load.wrong == {}
    assert await small.nacks() == refused == 0
    (half, files), (full, more) = weights
    assert full - half < 10, weights
    assert more - files < 5, weights


async def test_proxies_start_with_what_they_had_while_zone_and_registry_are_down(
    small: Small,
) -> None:
    await small.in_sync()

    async def recorded() -> bool | None:
        web, api = small.recorded("web"), small.recorded("api-1")
        return True if "/split" in web and "/entry" in web and "/limited" in api else None

    await until("what stands is recorded", recorded)
    await kill_zone(small)
    await small.crash_proxies()
    await small.restart_proxies()
    await small.estate.ready()
    # A bucket of each instance's Envoy, which began anew.
    assert await used_up(small) == 2
    async with Load(small) as load:
        await load.reach(600)
    assert load.wrong == {}
    assert as_split(load.shares)
    open_paths = ("/", "/split", "/entry")
    async with Load(small, dict.fromkeys(open_paths, 200)) as load:
        await small.estate.start_zone()
        await small.in_sync()
        await load.reach(300)
    assert load.wrong == {}
    # The zone is followed by an Envoy of its own, with a bucket of its own.
    assert await used_up(small) <= 2
