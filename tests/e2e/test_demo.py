"""The demo, as a newcomer runs it: every act must hold."""

from __future__ import annotations

import asyncio
import os
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
