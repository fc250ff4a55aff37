"""``mesh proxy`` as a program: from settings to a serving proxy, killed, started again, stopped."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from mesh.agent import http
from mesh.agent.envoy_process import LISTENER_DRAIN_SECONDS, start_time
from mesh.agent.settings import AgentSettings
from mesh.agent.state import StateDir
from mesh.agent.supervisor import LAST_GOOD
from mesh.aio.tasks import Tasks
from mesh.envoy import bootstrap
from mesh.envoy.files import IDENTITY_SDS
from mesh.model.proxies import Inbound
from tests.agent import discovery
from tests.agent.conftest import free_port
from tests.agent.envoys import end_all
from tests.agent.fakezone import FakeZone
from tests.waiting import until

MEGABYTE = 1024
BUDGET = 45 * MEGABYTE
OTHER_MACHINE = {"id": "another", "platform": "", "interfaces": []}
MESH = "import sys; from mesh.cli.main import main; sys.exit(main())"


@dataclass
class Program:
    """One proxy's programs, one after another."""

    settings: AgentSettings
    directory: Path
    zone: FakeZone
    started: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def start(self, *more: str, log: str = "log") -> subprocess.Popen[bytes]:
        """Run ``mesh proxy``."""
        inbound = self.settings.inbound
        assert inbound is not None
        options = {
            "service": self.settings.service,
            "id": self.settings.id,
            "state-dir": self.settings.state_dir,
            "zone-api": f"127.0.0.1:{self.zone.port}",
            "join-token-file": self.settings.proof_file,
            "app": f"127.0.0.1:{inbound.local_port}",
            "inbound-address": inbound.address,
            "inbound-port": inbound.port,
            "listen": f"127.0.0.1:{self.settings.listen[1]}",
            "register": "zone",
            "drain": "2s",
            "concurrency": 1,
        }
        arguments = [part for key, value in options.items() for part in (f"--{key}", str(value))]
        with (self.directory / log).open("wb") as output:
            process = subprocess.Popen(
                [sys.executable, "-c", MESH, "proxy", *arguments, *more],
                stdout=output,
                stderr=output,
            )
        self.started.append(process)
        return process

    async def ask(self, path: str) -> tuple[int, str]:
        """Ask the readiness port."""
        server = http.Server(*self.settings.listen)
        try:
            answer = await http.request(server, "GET", path)
        except http.RequestError:
            return 0, ""
        return answer.status, answer.body.decode()

    async def ready(self) -> bool:
        """Whether the proxy calls itself ready."""
        return (await self.ask("/ready"))[0] == 200

    def log(self, name: str = "log") -> str:
        """Return what a program wrote."""
        return (self.directory / name).read_text()

    def envoys(self) -> list[int]:
        """Return the process ids in the run files."""
        files = self.settings.state_dir.glob("envoy-*.run")
        return [json.loads(each.read_text())["pid"] for each in files]


@pytest.fixture
def program(settings: AgentSettings, tmp_path: Path, zone: FakeZone) -> Iterator[Program]:
    """A proxy with a last known good configuration, whose zone has an API but no xDS."""
    assert settings.inbound is not None
    state = StateDir(settings.state_dir)
    tcp = discovery.tcp_listener(settings.inbound.port)
    tcp["filter_chains"][0]["filters"].pop(0)
    local = discovery.assignment("local_app", settings.inbound.local_port)
    cluster = {"name": "local_app", "type": "STATIC", "load_assignment": local}
    content = bootstrap.static(discovery.proxy(settings), [tcp], [cluster])
    state.write(LAST_GOOD, json.dumps(content))
    zone.xds = [f"127.0.0.1:{free_port()}"]
    running = Program(settings, tmp_path, zone)
    yield running
    for process in running.started:
        process.kill()
        process.wait()
    end_all(state)
    state.close()


def inbound(program: Program) -> Inbound:
    """Return where the proxy takes calls."""
    assert program.settings.inbound is not None
    return program.settings.inbound


def proc(pid: int, file: str) -> str:
    """Return what the kernel says of a process."""
    return Path(f"/proc/{pid}/{file}").read_text()


def rss(pid: int) -> int:
    """Return the resident kilobytes of a process."""
    found = re.search(r"VmRSS:\s+(\d+)", proc(pid, "status"))
    assert found is not None
    return int(found[1])


async def test_from_token_to_drained(program: Program) -> None:
    process = program.start()
    await until(program.ready, what="ready")
    await until(lambda: "web-1" in program.zone.registrations)
    registered = program.zone.registrations["web-1"]
    assert registered["address"] == "127.0.0.1"
    assert program.settings.inbound is not None
    assert registered["port"] == program.settings.inbound.port
    _, metrics = await program.ask("/metrics")
    assert "mesh_agent_config_last_good 1" in metrics
    assert "envoy_server_live" in metrics
    status = json.loads((await program.ask("/status"))[1])
    assert (status["ready"], status["missing"], status["serving"]) == (True, [], "last known good")
    assert status["registration"] == {"with": "zone", "registered": True, "problem": ""}
    assert (status["id"], status["zone"]["connected"]) == ("web-1", False)
    # The process that stays has not loaded what only checked the settings.
    assert "pydantic" not in proc(process.pid, "maps")
    assert rss(process.pid) <= BUDGET
    process.send_signal(signal.SIGTERM)
    await until(lambda: process.poll() is not None)
    assert process.returncode == 0, program.log()
    assert not program.zone.registrations
    steps = re.findall(r'"step": "([^"]+)"', program.log())
    assert steps == [
        "deregister",
        "fail readiness",
        "let callers notice",
        "close the inbound listeners",
        "wait for connections to end",
        "end envoy",
    ]
    assert all(start_time(pid) is None for pid in program.envoys())


async def test_no_secret_is_in_arguments_or_log(program: Program) -> None:
    process = program.start("--log-level", "debug")
    await until(program.ready)
    token = program.settings.proof_file.read_text()
    key = (program.settings.state_dir / "svid.key").read_text().splitlines()[1]
    lines = [proc(pid, "cmdline") for pid in (process.pid, *program.envoys())]
    for text in (*lines, program.log(), (program.settings.state_dir / "agent.json").read_text()):
        assert token not in text
        assert key not in text
    for pid in program.envoys():
        assert proc(pid, "environ").strip("\0") == f"PATH={os.defpath}"


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


async def test_an_instance_whose_agent_was_killed_is_taken_out_and_not_by_a_copy(
    program: Program,
) -> None:
    process = program.start()
    await until(lambda: "web-1" in program.zone.registrations)
    process.kill()
    process.wait()
    settings = program.settings.state_dir / "agent.json"
    words = [sys.executable, "-m", "mesh.agent", "--settings", str(settings), "--deregister"]
    record = program.settings.state_dir / "machine.json"
    own = record.read_text()
    record.write_text(json.dumps(json.loads(own) | {"machine": OTHER_MACHINE}))
    refused = await asyncio.to_thread(subprocess.run, words, capture_output=True, check=False)
    assert refused.returncode == 2
    assert b"made on another machine" in refused.stderr
    assert "web-1" in program.zone.registrations
    record.write_text(own)
    await asyncio.to_thread(subprocess.run, words, capture_output=True, check=True)
    assert not program.zone.registrations


async def test_one_agent_on_one_state_directory(program: Program) -> None:
    first = program.start()
    await until(program.ready)
    second = program.start("--listen", f"127.0.0.1:{free_port()}", log="second")
    await until(lambda: second.poll() is not None)
    assert second.returncode == 2
    assert f"another agent (process {first.pid})" in program.log("second")
    assert await program.ready()


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


async def test_a_refused_token_ends_the_program_with_the_zones_remedy(program: Program) -> None:
    program.zone.refusal = (403, "the join token was revoked", "create another one")
    process = program.start()
    await until(lambda: process.poll() is not None)
    assert process.returncode == 3
    assert "the join token was revoked" in program.log()
    assert "remedy: create another one" in program.log()


async def test_a_taken_readiness_port_is_named(program: Program) -> None:
    with socket.create_server(program.settings.listen):
        process = program.start()
        await until(lambda: process.poll() is not None)
    assert process.returncode == 2
    assert f"readiness (127.0.0.1:{program.settings.listen[1]})" in program.log()


async def test_a_taken_inbound_port_is_named(program: Program) -> None:
    place = inbound(program)
    with socket.create_server((place.address, place.port)):
        process = program.start()
        await until(lambda: process.poll() is not None)
    assert process.returncode == 2
    assert f"inbound ({place.address}:{place.port})" in program.log()


async def test_wrong_settings_are_refused_all_at_once(program: Program) -> None:
    process = program.start("--inbound-port", "70000", "--upstream", "api", "--register", "etcd")
    await until(lambda: process.poll() is not None)
    assert process.returncode == 2
    for each in ("inbound_port", "upstreams", "registration"):
        assert each in program.log()
    assert {each.name for each in program.settings.state_dir.iterdir()} == {LAST_GOOD}


async def test_settings_that_cannot_be_kept_are_an_error_with_a_remedy(program: Program) -> None:
    program.settings.state_dir.joinpath(".agent.json.new").mkdir()
    process = program.start()
    await until(lambda: process.poll() is not None)
    assert process.returncode == 2
    assert "agent.json cannot be written" in program.log()
    assert "remedy: Is the disk full" in program.log()
