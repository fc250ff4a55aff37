"""A queue of steps lets the loop breathe."""

from __future__ import annotations

import asyncio
import functools
import itertools

from mesh.xds.pacing import Pacer


async def test_a_turn_ends_and_the_rest_follows_in_order() -> None:
    ticks = itertools.count()
    loop = asyncio.get_running_loop()
    # Each look at the clock is a second later, and a turn may take two.
    pacer = Pacer(loop, turn=2.0, clock=lambda: float(next(ticks)))
    happened: list[object] = []
    for number in range(5):
        pacer.submit(functools.partial(happened.append, number))
    assert happened == []
    turns = []
    while pacer.waiting:
        await asyncio.sleep(0)
        turns.append(len(happened))
    assert happened == [0, 1, 2, 3, 4]
    assert turns == [2, 4, 5]


async def test_closing_forgets_what_waits() -> None:
    pacer = Pacer(asyncio.get_running_loop())
    happened: list[int] = []
    pacer.submit(lambda: happened.append(1))
    pacer.close()
    await asyncio.sleep(0)
    assert happened == []
