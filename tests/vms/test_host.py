"""The test bed itself: hosts are hosts, and leave nothing behind."""

from __future__ import annotations

from pathlib import Path

from tests.vms import wheels
from tests.vms.host import Bed, finished, hosts, run


async def test_a_host_keeps_its_files_and_leaves_nothing_behind(mesh_layers: list[Path]) -> None:
    async with hosts("web", layers=mesh_layers) as bed:
        web = bed["web"]
        assert (await run(*web.ssh, "hostname")).strip() == "web"
        assert wheels.VERSION in await web.run("mesh", "version")
        await web.run("ping", "-c1", "-W5", bed.address)
        await web.push("jq")
        await web.run("apt-get", "-qq", "-y", "install", "jq")
        boot = await web.run("cat", "/proc/1/stat")
        await web.reboot()
        assert await web.run("cat", "/proc/1/stat") != boot
        await web.run("jq", "--version")
    await _nothing_is_left(bed)


async def _nothing_is_left(bed: Bed) -> None:
    assert not bed.directory.exists()
    for command in ("ip link", "ip netns", "nft list tables", "findmnt", "ls -R /sys/fs/cgroup"):
        ended = await finished(*command.split())
        assert bed.bridge not in ended.output
        assert str(bed.directory) not in ended.output
