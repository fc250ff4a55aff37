"""``mesh proxy`` as a program: stopped, hurried, renewed, left and killed."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket

import pytest

from mesh.agent.envoy_process import LISTENER_DRAIN_SECONDS, start_time
from mesh.aio.tasks import Tasks
from mesh.envoy.files import IDENTITY_SDS
from tests.agent.program import Program, inbound
from tests.waiting import until


@pytest.mark.parametrize("ending", [signal.SIGKILL, signal.SIGUSR2])
async def test_envoy_outlives_a_killed_agent_and_one_that_leaves_and_the_next_takes_it_over(
    program: Program, ending: signal.Signals
) -> None:
    process = program.start()
    await until(program.ready)
    envoys = program.envoys()
    process.send_signal(ending)
    assert process.wait(10) == (0 if ending is signal.SIGUSR2 else -ending)
    assert "deregister" not in program.log()
    assert program.settings.inbound is not None
    with socket.create_connection(("127.0.0.1", program.settings.inbound.port)):
        pass
    program.start()
    await until(program.ready)
    assert program.envoys() == envoys


async def test_a_second_sigterm_waits_for_no_connection(program: Program) -> None:
    assert program.settings.inbound is not None
    application = socket.create_server(("127.0.0.1", program.settings.inbound.local_port))
    with application:
        process = program.start("--drain", "60s")
        await until(program.ready)
        with contextlib.closing(
            socket.create_connection(("127.0.0.1", program.settings.inbound.port))
        ):
            process.send_signal(signal.SIGTERM)
            await until(lambda: "wait for connections" in program.log())
            assert process.poll() is None
            status, body = await program.ask("/ready")
            assert (status, "draining" in body) == (503, True)
            process.send_signal(signal.SIGTERM)
            await until(lambda: process.poll() is not None)
    assert process.returncode == 0


async def test_a_stop_stands_over_an_agents_leave(program: Program) -> None:
    process = program.start("--drain", "1s")
    await until(program.ready)
    await until(lambda: "web-1" in program.zone.registrations)
    envoys = program.envoys()
    # Both find it busy with something else.
    for number in (signal.SIGSTOP, signal.SIGUSR2, signal.SIGTERM, signal.SIGCONT):
        process.send_signal(number)
    await until(lambda: process.poll() is not None)
    assert process.returncode == 0
    assert not program.zone.registrations
    assert all(start_time(pid) is None for pid in envoys)


async def test_sighup_renews_and_leaves_envoy_alone(program: Program) -> None:
    process = program.start()
    await until(program.ready)
    envoys, secret = program.envoys(), program.settings.state_dir / IDENTITY_SDS
    before = secret.read_bytes()
    with socket.create_server(("127.0.0.1", inbound(program).local_port)) as application:
        opened = socket.create_connection(("127.0.0.1", inbound(program).port))
        with opened, application.accept()[0] as accepted:
            process.send_signal(signal.SIGHUP)
            await until(lambda: secret.read_bytes() != before, what="a new certificate")
            assert program.zone.asked.count("renew") == 1
            accepted.sendall(b"still here")
            assert await asyncio.to_thread(opened.recv, 100) == b"still here"
    assert await program.ready()
    assert program.envoys() == envoys


async def test_a_stop_loses_nothing_under_load(program: Program) -> None:
    """Callers come while the registry has the instance; what they began is finished."""
    finished: list[float] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seconds = float(await reader.readline())
        await asyncio.sleep(seconds)
        writer.write(b"done\n")
        writer.close()
        await writer.wait_closed()

    async def call(seconds: float) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", inbound(program).port)
        writer.write(f"{seconds}\n".encode())
        assert await reader.readline() == b"done\n"
        writer.close()
        finished.append(seconds)

    async def caller(seconds: float) -> None:
        while "web-1" in program.zone.registrations:
            await call(seconds)

    place = ("127.0.0.1", inbound(program).local_port)
    async with await asyncio.start_server(answer, *place), Tasks("load") as tasks:
        process = program.start("--drain", "20s")
        await until(program.ready)
        await until(lambda: "web-1" in program.zone.registrations)
        callers = [tasks.spawn("caller", caller(each)) for each in (0.0, 0.01, 0.1, 0.5) * 3]
        # Longer than Envoy itself would wait for the connections of a listener that is gone.
        long = LISTENER_DRAIN_SECONDS + 2.0
        callers.append(tasks.spawn("long caller", call(long)))
        await until(lambda: len(finished) > 200)
        process.send_signal(signal.SIGTERM)
        await asyncio.gather(*callers)
        assert long in finished
        await until(lambda: process.poll() is not None)
    assert process.returncode == 0, program.log()
    assert "took too long" not in program.log()


async def test_new_addresses_of_the_zone_are_dialled_at_once(program: Program) -> None:
    process = program.start()
    await until(program.ready)
    async with contextlib.AsyncExitStack() as stack:
        met = asyncio.Event()

        async def meet(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            met.set()
            writer.close()

        moved = await stack.enter_async_context(await asyncio.start_server(meet, "127.0.0.1", 0))
        program.zone.xds = [f"127.0.0.1:{moved.sockets[0].getsockname()[1]}"]
        process.send_signal(signal.SIGHUP)
        await until(met.is_set, what="the new address is tried")
        await until(lambda: len(program.envoys()) == 2, what="an envoy follows the new address")
        assert await program.ready()
