"""``mesh proxy`` as a program: from settings to a serving proxy, or to a refusal."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import socket
import subprocess
import sys

from mesh.agent.envoy_process import start_time
from mesh.agent.supervisor import LAST_GOOD
from tests.agent.conftest import free_port
from tests.agent.program import Program, inbound, proc
from tests.waiting import until

MEGABYTE = 1024


BUDGET = 45 * MEGABYTE


OTHER_MACHINE = {"id": "another", "platform": "", "interfaces": []}


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
