"""The network below the zones: reached, slowed, cut without a word, healed, and gone at the end."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
import time
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager, suppress
from pathlib import Path

import pytest

from tests.traffic.waiting import until
from tests.zones import namespaces
from tests.zones.network import Network

pytestmark = [pytest.mark.e2e, pytest.mark.alone, pytest.mark.timeout(60)]

PORT = 9000
SILENCE = 0.4
"""Seconds without a packet after which a link counts as cut."""


Talk = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@asynccontextmanager
async def echo(network: Network, zone: str) -> AsyncIterator[None]:
    """Answer every line with itself, on PORT of every address of the zone."""
    open_writers: set[asyncio.StreamWriter] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        open_writers.add(writer)
        while line := await reader.readline():
            writer.write(line)

    listening = namespaces.socket_in(network.namespace(zone))
    listening.bind(("0.0.0.0", PORT))  # noqa: S104 - of a network of its own
    async with await asyncio.start_server(serve, sock=listening):
        try:
            yield
        finally:
            for writer in open_writers:
                await end(writer)


@asynccontextmanager
async def dialled(
    network: Network, zone: str | None, target: str, *, host: int = 1
) -> AsyncIterator[Talk]:
    """Connect from one zone (or from outside) to another."""
    place = (network.address(target, host), PORT)
    opened = network.open_socket(zone) if zone else socket.socket()
    with opened:
        opened.settimeout(0)
        async with asyncio.timeout(SILENCE):
            await asyncio.get_running_loop().sock_connect(opened, place)
        reader, writer = await asyncio.open_connection(sock=opened)
        try:
            yield reader, writer
        finally:
            await end(writer)


async def end(writer: asyncio.StreamWriter) -> None:
    """Close at once, whatever was not delivered."""
    writer.transport.abort()
    with suppress(ConnectionError):
        await writer.wait_closed()


async def ask(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> float:
    """Send a line, wait for it to come back, and return how long that took."""
    began = time.monotonic()
    writer.write(b"hello\n")
    assert await reader.readline() == b"hello\n"
    return time.monotonic() - began


async def passes(network: Network, source: str, target: str) -> bool:
    """Tell whether a datagram sent by one zone comes to the other."""
    loop = asyncio.get_running_loop()
    with ExitStack() as stack:
        sends = stack.enter_context(network.open_socket(source, socket.SOCK_DGRAM))
        takes = stack.enter_context(network.open_socket(target, socket.SOCK_DGRAM))
        await loop.sock_sendto(sends, b"x", takes.getsockname())
        try:
            async with asyncio.timeout(SILENCE):
                return await loop.sock_recv(takes, 10) == b"x"
        except TimeoutError:
            return False


async def test_zones_reach_each_other_and_the_outside_reaches_all(network: Network) -> None:
    for target in network.zones:
        async with echo(network, target):
            for source in set(network.zones) - {target}:
                async with dialled(network, source, target, host=50) as talk:
                    # The link is the zones' own: the callee sees the caller's address.
                    assert talk[1].get_extra_info("sockname")[0] == network.address(source)
                    await ask(*talk)
            async with dialled(network, None, target, host=7) as talk:
                assert talk[1].get_extra_info("sockname")[0] == network.outside
                await ask(*talk)


async def test_a_command_runs_inside(network: Network) -> None:
    said = await namespaces.run(*network.prefix("b"), "ip", "-brief", "address", "show", "lo")
    assert network.address("b") in said


async def test_a_delay_is_measured_and_connections_outlive_it(network: Network) -> None:
    async with echo(network, "b"), dialled(network, "a", "b") as talk:
        assert min([await ask(*talk) for _ in range(5)]) < 0.01
        await network.delay("a", "b", 30)
        slow = [await ask(*talk) for _ in range(5)]
        assert 0.06 <= min(slow) < 0.08, slow
        await network.delay("a", "b", 5)
        slow = [await ask(*talk) for _ in range(5)]
        assert 0.01 <= min(slow) < 0.03, slow
        await network.delay("a", "b", 0)
        assert min([await ask(*talk) for _ in range(5)]) < 0.01


@pytest.mark.parametrize("delay", [0, 20])
async def test_a_cut_is_silent_and_heals(network: Network, delay: float) -> None:
    await network.delay("a", "b", delay)
    async with echo(network, "b"), echo(network, "c"), dialled(network, "a", "b") as talk:
        reader, writer = talk
        await ask(*talk)
        await network.cut("a", "b")
        with pytest.raises(TimeoutError):
            async with dialled(network, "a", "b"):
                pass
        writer.write(b"hello\n")
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(SILENCE):
                await reader.readline()
        # There is no way around it, and nobody else is concerned.
        for source, target in (("a", "c"), ("c", "b")):
            async with dialled(network, source, target) as other:
                await ask(*other)

        await network.heal("a", "b")
        async with asyncio.timeout(5):
            # The kernel sends again what was lost.
            assert await reader.readline() == b"hello\n"
        assert await ask(*talk) >= 2 * delay / 1000


async def test_a_link_can_be_cut_one_way(network: Network) -> None:
    await network.cut_one_way("a", "b")
    assert not await passes(network, "a", "b")
    assert await passes(network, "b", "a")
    with pytest.raises(TimeoutError):
        async with echo(network, "b"), dialled(network, "a", "b"):
            pass
    await network.heal("a", "b")
    assert await passes(network, "a", "b")


async def test_an_isolated_zone_hears_from_nobody_but_us(network: Network) -> None:
    await network.isolate("b")
    assert not await passes(network, "a", "b")
    assert not await passes(network, "b", "c")
    assert await passes(network, "c", "a")
    async with echo(network, "b"), dialled(network, None, "b") as talk:
        await ask(*talk)
    await network.rejoin("b")
    assert await passes(network, "a", "b")
    assert await passes(network, "b", "c")


async def test_networks_stand_beside_each_other_and_leave_nothing() -> None:
    before = await devices()
    async with Network(("a", "b")) as one, Network(("a", "b")) as other:
        assert one.outside != other.outside
        await one.delay("a", "b", 1)
        process = await asyncio.create_subprocess_exec(*one.prefix("a"), "sleep", "60")
        names = [each.namespace("a") for each in (one, other)]
        assert set(names) <= set(namespaces.existing())
    assert await process.wait() == -signal.SIGKILL
    assert not {name for name in namespaces.existing() if f"-{os.getpid()}-" in name}
    assert await devices() <= before


async def test_what_a_crashed_run_left_is_removed() -> None:
    before = await devices()
    program = """
import asyncio, os, signal, subprocess
from tests.zones.network import Network
async def crash():
    async with Network(("a", "b")) as network:
        command = [*network.prefix("a"), "sleep", "60"]
        inside = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        print(network.namespace("a"), inside.pid, flush=True)
        os.kill(os.getpid(), signal.SIGKILL)
asyncio.run(crash())
"""
    crashed = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", program), stdout=asyncio.subprocess.PIPE
    )
    said, _ = await crashed.communicate()
    name, pid = said.decode().split()
    assert name in namespaces.existing()
    async with Network(("a", "b")):
        assert name not in namespaces.existing()

        async def ended() -> bool | None:
            return None if is_running(pid) else True

        await until("what ran inside has ended", ended)
    assert await devices() <= before


def is_running(pid: str) -> bool:
    """Tell whether a process has not ended; nobody may have asked yet how it did."""
    stat = Path("/proc", pid, "stat")
    return stat.exists() and " Z " not in stat.read_text()


async def devices() -> set[str]:
    """Return the names of this machine's own network devices."""
    said = await namespaces.run("ip", "-brief", "link", "show")
    return {line.split()[0].partition("@")[0] for line in said.splitlines()}
