"""Capture on a real host: over SSH, as the operator is, and from boot on."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final

import pytest
import pytest_asyncio

from tests.traffic.waiting import until
from tests.vms.host import Host, finished, hosts

pytestmark = pytest.mark.asyncio(loop_scope="module")

_CAPTURE: Final = """\
proxies:
  - {service: web, users: [root, www-data], outbound: 15001, to: all, inbound: {8080: 15006}}
dns: {}
"""
_APPLY: Final = "mesh capture apply"
_TABLE: Final = "nft list table inet mesh"
_ORDER: Final = "systemctl show --property=ActiveEnterTimestampMonotonic --value"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def vm(mesh_layers: list[Path]) -> AsyncIterator[Host]:
    """A host with settings for capture, and nothing loaded."""
    async with hosts("vm", layers=mesh_layers) as bed:
        host = bed["vm"]
        await host.write("/etc/mesh/capture.yaml", _CAPTURE, group="mesh", mode="0640")
        yield host


async def is_loaded(host: Host) -> bool:
    return (await host.finished(*_TABLE.split())).code == 0


async def test_who_loses_the_session_finds_the_host_as_it_was(vm: Host) -> None:
    session = await asyncio.create_subprocess_exec(
        *vm.ssh[:-1], "-tt", vm.ssh[-1], _APPLY, stdin=asyncio.subprocess.PIPE
    )

    async def loaded() -> bool | None:
        return await is_loaded(vm) or None

    async def gone() -> bool | None:
        return None if await is_loaded(vm) else True

    await until("the table is loaded, and to be confirmed", loaded)
    session.kill()
    await session.wait()
    await until("what was there before is back", gone, patience=40)


async def test_a_proven_table_stays_and_is_there_from_boot_on(vm: Host) -> None:
    applied = await finished(*vm.ssh, f"{_APPLY} && {_APPLY}")
    assert applied.output == "capture: applied\ncapture: nothing to change\n", applied.errors
    table = await vm.run(*_TABLE.split())
    await vm.run("systemctl", "enable", "--quiet", "mesh.target", "mesh-capture.service")
    await vm.reboot()
    assert await vm.run(*_TABLE.split()) == table
    unit = int(await vm.run(*_ORDER.split(), "mesh-capture.service"))
    network = int(await vm.run(*_ORDER.split(), "network-pre.target"))
    assert 0 < unit <= network
    assert (await finished(*vm.ssh, "true")).code == 0
    removed = await finished(*vm.ssh, "mesh capture remove && nft list ruleset")
    assert removed.output == "capture: removed\n"
