"""Supervised tasks."""

import asyncio
import logging
from typing import NoReturn

import pytest

from mesh.aio.tasks import TaskFailedError, Tasks


class BrokenError(Exception):
    """What a task of these tests fails with."""


async def broken() -> NoReturn:
    raise BrokenError("no coffee")


async def patient() -> None:
    await asyncio.Event().wait()


async def test_failure_interrupts_the_owner_names_the_task_and_ends_siblings(
    caplog: pytest.LogCaptureFixture,
) -> None:
    siblings: list[asyncio.Task[None]] = []

    async def owner() -> None:
        async with Tasks("kitchen") as tasks:
            siblings.append(tasks.spawn("oven", patient(), forever=True))
            tasks.spawn("kettle", broken())
            await asyncio.Event().wait()

    with pytest.raises(TaskFailedError, match="kettle failed: no coffee") as caught:
        await owner()
    assert isinstance(caught.value.__cause__, BrokenError)
    assert siblings[0].cancelled()
    record = next(record for record in caplog.records if record.levelno == logging.ERROR)
    assert record.__dict__["task"] == "kettle"
    assert record.__dict__["group"] == "kitchen"


async def test_owner_may_park_on_failed() -> None:
    async def owner() -> None:
        async with Tasks() as tasks:
            tasks.spawn("kettle", broken())
            await tasks.failed()

    with pytest.raises(TaskFailedError, match="kettle"):
        await owner()


async def test_a_task_that_was_to_run_forever_may_not_return() -> None:
    async def short() -> None:
        pass

    async def owner() -> None:
        async with Tasks() as tasks:
            tasks.spawn("fine", short())
            tasks.spawn("watch", short(), forever=True)
            await tasks.failed()

    with pytest.raises(TaskFailedError, match="watch returned, though it should run on"):
        await owner()


async def test_leaving_the_block_cancels_and_awaits_all() -> None:
    log: list[str] = []

    async def tidy() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            log.append("tidied")

    async with Tasks() as tasks:
        tasks.spawn("tidy", tidy(), forever=True)
        await asyncio.sleep(0)
    assert log == ["tidied"]


async def test_close_is_repeatable_and_refuses_newcomers() -> None:
    tasks = Tasks("done")
    tasks.spawn("patient", patient())
    await tasks.close()
    await tasks.close()
    with pytest.raises(RuntimeError, match="done is stopping; late cannot start"):
        tasks.spawn("late", patient())


async def test_cancellation_from_outside_stays_a_cancellation() -> None:
    inside = asyncio.Event()

    async def owner() -> None:
        async with Tasks() as tasks:
            tasks.spawn("patient", patient())
            inside.set()
            await tasks.failed()

    async with Tasks() as outer:
        task = outer.spawn("owner", owner())
        await inside.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task


async def test_an_error_of_the_block_is_not_hidden_by_a_failing_task() -> None:
    async def owner() -> None:
        async with Tasks() as tasks:
            tasks.spawn("kettle", broken())
            raise BrokenError

    with pytest.raises(BrokenError):
        await owner()


async def test_the_owner_can_go_on_after_a_failure_was_handled() -> None:
    async def owner() -> None:
        async with Tasks() as tasks:
            tasks.spawn("kettle", broken())
            await tasks.failed()

    with pytest.raises(TaskFailedError):
        await owner()
    await asyncio.sleep(0)
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0
