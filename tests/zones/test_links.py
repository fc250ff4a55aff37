"""Links between zones fail: silently, one way, and for a minute."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.zones.estates import Three, three
from tests.zones.load import Load

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.timeout(240),
]

CUT_FOR = 60.0
"""Seconds."""
NOTICED_WITHIN = 15.0
"""Seconds until calls go elsewhere, or fail at once: what is in flight waits for so long."""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def found(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Three]:
    """The three zones, for all tests of the module."""
    async with three(tmp_path_factory.mktemp("zones")) as zones:
        yield zones


def targets(found: Three) -> dict[str, str]:
    """``local`` stays here, ``over`` can be answered by c as well, ``only`` is in b alone."""
    return {
        "local": found.a.url("web", "api"),
        "over": found.a.url("web", "stock"),
        "only": found.a.url("web", "orders"),
    }


async def reach_of_b(found: Three) -> None:
    """Wait until b is the nearer of the two that have ``stock``."""
    await found.bed.network.delay("a", "c", 10)
    await found.answers(found.a.url("web", "stock"), "b")


async def test_a_link_is_cut_for_a_minute(found: Three) -> None:
    await reach_of_b(found)
    async with Load(targets(found), seconds=200, most=60_000, callers=40) as load:
        await load.reach(200)
        await found.bed.network.cut("a", "b")
        cut = time.monotonic()
        await asyncio.sleep(CUT_FOR)
        seen = await found.zones_seen(found.a)
        status, words = await found.status(found.a.url("web", "orders"))
        await found.bed.network.heal("a", "b")
        healed = time.monotonic()
        await found.answers(found.a.url("web", "orders"), "b")
        await found.answers(found.a.url("web", "stock"), "b")
        back = time.monotonic()
        await load.reach(100)
    # Local traffic does not notice.
    assert load.calls["local"].failed == 0
    assert set(load.calls["local"].zones) == {"a"}
    # What another zone can answer it does, once the silence is noticed.
    over = load.calls["over"]
    assert over.between(cut + NOTICED_WITHIN, healed).failed == 0, str(over)
    # (A call that began shortly before the end may have been answered by b after it.)
    assert set(over.between(cut + NOTICED_WITHIN, healed - 5).zones) == {"c"}
    # What nobody else has fails soon and says why; nothing hangs.
    only = load.calls["only"].between(cut + NOTICED_WITHIN, healed - 5)
    assert only.sent == only.failed > 0
    assert status == 503
    assert words
    # It is known how old the knowledge is, and nothing of it was lost.
    assert seen["b"]["state"] == "stale"
    assert seen["b"]["services"]["orders"]["healthy"] == 1
    assert seen["c"]["state"] == "ok"
    assert load.calls["only"].since(back).failed == 0
    took = f"back {back - healed:.1f} s after the link; refused in {only.percentile(50):.2f} s"
    print(took)  # noqa: T201 - the figures of this fault


@pytest.mark.parametrize(("source", "target"), [("a", "b"), ("b", "a")])
async def test_a_link_is_half_open(found: Three, source: str, target: str) -> None:
    await reach_of_b(found)
    async with Load(targets(found), seconds=120, most=60_000, callers=40) as load:
        await load.reach(200)
        await found.bed.network.cut_one_way(source, target)
        cut = time.monotonic()
        await found.answers(found.a.url("web", "stock"), "c")
        await asyncio.sleep(NOTICED_WITHIN)
        await load.reach(300)
        healed = time.monotonic()
        await found.bed.network.heal("a", "b")
        await found.answers(found.a.url("web", "orders"), "b")
        await load.reach(100)
    assert load.calls["local"].failed == 0
    over = load.calls["over"].between(cut + NOTICED_WITHIN, healed)
    assert over.sent > 0
    assert over.failed == 0, str(load)
