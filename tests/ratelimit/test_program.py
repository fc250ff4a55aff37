"""The command: what it needs, what it refuses, and how it ends."""

from __future__ import annotations

import asyncio
import json
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from mesh.config.types import HostPort
from mesh.demo.loopback import HOST, free_ports
from mesh.demo.processes import Child, start
from tests.ratelimit.asking import OK, Client, Redis, descriptor, page
from tests.waiting import until

MESH = "from mesh.cli.main import main; main()"
WITHOUT = "import sys; sys.modules[{package!r}] = None; " + MESH


def mesh(*arguments: str, code: str = MESH) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code, "ratelimit", "run", *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize("package", ["limits", "grpc", "redis"])
def test_a_missing_library_is_named_with_the_extra_that_brings_it(package: str) -> None:
    ran = mesh(code=WITHOUT.format(package=package))
    assert ran.returncode == 2
    assert f"the package {package} is not installed" in ran.stderr
    assert "pip install 'consul-mesh[ratelimit]'" in ran.stderr
    assert "Traceback" not in ran.stderr


def test_settings_are_checked_without_the_extra() -> None:
    arguments = ("--redis-url", "redis://redis.example/1", "--listen", "127.0.0.1:1")
    code = WITHOUT.format(package="limits")
    ran = mesh(*arguments, "--check-config", "-o", "json", code=code)
    assert ran.returncode == 0, ran.stderr
    document = json.loads(ran.stdout)
    assert document["redis"]["url"] == "redis://redis.example/1"
    assert document["listen"]["grpc"] == "127.0.0.1:1"


def test_a_password_on_the_command_line_is_refused_and_not_repeated() -> None:
    ran = mesh("--redis-url", "redis://:s3cr3t@redis.example")
    assert ran.returncode == 2
    assert "password_file" in ran.stderr
    assert "s3cr3t" not in ran.stderr


@pytest.mark.parametrize("option", ["--listen", "--health-listen"])
def test_a_taken_port_is_one_sentence_with_what_to_do(option: str) -> None:
    with socket.create_server((HOST, 0)) as taken:
        place = f"{HOST}:{taken.getsockname()[1]}"
        both = {"--listen": f"{HOST}:0", "--health-listen": f"{HOST}:0", option: place}
        ran = mesh(*(part for pair in both.items() for part in pair))
    assert ran.returncode == 2
    (said,) = [line for line in ran.stderr.splitlines() if line.startswith("error: ")]
    assert f"cannot listen on {place}" in said
    assert "ss -ltnp" in ran.stderr
    assert "Traceback" not in ran.stderr


class Program:
    """The command as a process, counting in ``redis``."""

    def __init__(self, child: Child, grpc: HostPort, health: HostPort) -> None:
        """Know where it listens."""
        self.child = child
        self.grpc = grpc
        self.health = health


@pytest.fixture
async def program(tmp_path: Path, redis: Redis) -> AsyncIterator[Program]:
    grpc, health = (HostPort(HOST, port) for port in free_ports(2))
    settings = f"""
    [listen]
    grpc = "{grpc}"
    health = "{health}"
    [redis]
    url = "{redis.url}"
    timeout = "20s"
    """
    config = tmp_path / "ratelimit.toml"
    config.write_text(settings)
    command = [sys.executable, "-m", "mesh.cli", "ratelimit", "run", "--config", str(config)]
    running = await start(
        "ratelimit", command, log=tmp_path / "log", environment={"HOME": str(tmp_path)}
    )
    try:
        await running.answers(f"http://{health}/ready")
        yield Program(running, grpc, health)
    finally:
        await running.kill()


async def test_sigterm_answers_what_is_under_way(program: Program, redis: Redis) -> None:
    async with Client(program.grpc) as client:
        redis.hold()
        try:
            under_way = asyncio.gather(client.ask(descriptor(("a", "1"), limit=1)))

            async def is_under_way() -> bool:
                figures = (await page(program.health, "/metrics"))[1]
                return "mesh_ratelimit_requests_in_flight 1.0" in figures

            await until(is_under_way)
            program.child.process.send_signal(signal.SIGTERM)

            async def is_ending() -> bool:
                return "the service is ending" in (await page(program.health, "/ready"))[1]

            await until(is_ending)
        finally:
            redis.go_on()
        (answer,) = await under_way
        assert answer.overall_code == OK
    async with asyncio.timeout(10):
        assert await program.child.process.wait() == 0, program.child.tail()
    lines = [json.loads(line) for line in program.child.tail().splitlines() if line[:1] == "{"]
    assert lines[-1]["event"] == "rate limit service ends"
