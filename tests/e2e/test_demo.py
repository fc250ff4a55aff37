"""The demo, as a newcomer runs it: every act must hold."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path

import pytest

from tests import realconsul

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(180)]


async def demo(home: Path, path: str) -> tuple[int, str]:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "mesh.cli", "demo"),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        env={"PATH": path, "HOME": str(home), "LANG": "C.UTF-8"},
    )
    output, _ = await process.communicate()
    return process.returncode or 0, output.decode()


async def test_every_act_holds_on_the_embedded_registry(tmp_path: Path) -> None:
    code, output = await demo(tmp_path, os.defpath)
    assert code == 0, output
    assert "Permissions by method and path" in output
    assert "×" not in output
    assert "– " not in output


async def test_every_act_holds_on_a_real_consul_found_on_the_path(tmp_path: Path) -> None:
    code, output = await demo(tmp_path, f"{realconsul.binary().parent}{os.pathsep}{os.defpath}")
    assert code == 0, output
    assert "over Consul at" in output
    assert "needs Consul 1.9" in output


async def test_kept_it_stays_until_it_is_interrupted_and_ends_clean(tmp_path: Path) -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "mesh.cli", "demo", "--keep"),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        env={"PATH": os.defpath, "HOME": str(tmp_path), "TMPDIR": "/tmp"},  # noqa: S108 - sockets need a short path
    )
    assert process.stdout is not None
    seen = ""
    while "mesh check" not in seen:
        line = await process.stdout.readline()
        assert line, seen
        seen += line.decode()
    process.send_signal(signal.SIGINT)
    rest = (await process.stdout.read()).decode()
    assert await process.wait() == 0, rest
    assert "Unclosed" not in rest
    (kept,) = {part for part in seen.split() if part.startswith("CONSUL_HTTP_TOKEN_FILE=")}
    assert not await asyncio.to_thread(Path(kept.partition("=")[2]).exists)
