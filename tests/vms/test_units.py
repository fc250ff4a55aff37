"""The units on real hosts: what systemd is told, what it does about it, and what survives.

Every test leaves zone and both proxies running.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from tests.traffic.waiting import until
from tests.vms.host import Host
from tests.vms.mesh import (
    API,
    API_SETTINGS,
    PROXY,
    WEB,
    Mesh,
    envoy,
    join_token,
    meshed,
    says,
    show,
)
from tests.waiting import until as eventually

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def mesh(mesh_layers: list[Path]) -> AsyncIterator[Mesh]:
    async with meshed(mesh_layers) as found:
        yield found


async def test_a_unit_is_up_when_its_program_is_ready(mesh: Mesh) -> None:
    for host, unit in ((mesh.zone, "mesh-zone.service"), (mesh.vm, WEB), (mesh.vm, API)):
        found = await show(host, unit, "ActiveState", "Type", "NRestarts", "NotifyAccess")
        assert found == {
            "Type": "notify",
            "ActiveState": "active",
            "NRestarts": "0",
            "NotifyAccess": "main",
        }
    assert "ready; follows zone dc1; certificate until" in await says(mesh.vm, WEB, "follows")
    assert "ready; zone dc1, leads; proxies connected: 2" in await says(
        mesh.zone, "mesh-zone.service", "connected: 2"
    )


async def test_a_reload_renews_the_certificate_and_leaves_envoy_alone(mesh: Mesh) -> None:
    before, pid = _serial(mesh.vm), await envoy(mesh.vm, "web")
    await mesh.vm.run("systemctl", "reload", WEB)
    await eventually(lambda: _serial(mesh.vm) != before, what="another certificate")
    await eventually(lambda: _is_active(mesh.vm, WEB), what="the reload is over")
    assert await envoy(mesh.vm, "web") == pid


async def _is_active(host: Host, unit: str) -> bool:
    return (await show(host, unit, "ActiveState"))["ActiveState"] == "active"


def _serial(host: Host) -> str:
    about = json.loads((host.root / "var/lib/mesh/web/svid.json").read_text())
    return str(about["serial"])


async def test_a_hung_agent_is_replaced_and_no_connection_ends(mesh: Mesh) -> None:
    drop_in = f"/run/systemd/system/{WEB}.d/test.conf"
    await mesh.vm.write(drop_in, "[Service]\nWatchdogSec=2\nRestartSec=0.1\n")
    await mesh.vm.run("systemctl", "daemon-reload")
    # The new time holds for the next agent, which finds the Envoy of the one before.
    await _kill(mesh.vm, "KILL")
    async with mesh.connection() as talk:
        pid = await envoy(mesh.vm, "web")
        assert await talk("before") == "before"
        await _kill(mesh.vm, "STOP")
        assert await talk("after") == "after"
        assert await envoy(mesh.vm, "web") == pid
    journal = await mesh.vm.run("journalctl", "-q", "-u", WEB, "-o", "cat")
    assert "Watchdog timeout" in journal
    assert "Fatal Python error: Aborted" in journal
    await mesh.vm.run("rm", drop_in)
    await mesh.vm.run("systemctl", "daemon-reload")


async def _kill(host: Host, signal: str) -> None:
    """Send a signal to web's agent, and wait until systemd has another."""
    before = (await show(host, WEB, "MainPID", "NRestarts"))["MainPID"]
    await host.run("kill", f"-{signal}", before)

    async def replaced() -> bool | None:
        now = await show(host, WEB, "MainPID", "ActiveState")
        return (now["ActiveState"] == "active" and now["MainPID"] not in {"0", before}) or None

    await until("another agent runs", replaced, patience=30)


async def test_no_token_is_seen_by_others(mesh: Mesh) -> None:
    told = "cat /proc/[0-9]*/cmdline /proc/[0-9]*/environ | tr '\\0' '\\n'"
    seen = await mesh.vm.run("sh", "-c", told) + await mesh.vm.run("journalctl", "-q")
    assert "mesh.agent" in seen
    for token in mesh.tokens:
        for part in token.split("."):
            assert part not in seen


async def test_envoy_knows_nothing_of_the_service_manager(mesh: Mesh) -> None:
    variables = await mesh.vm.run("cat", f"/proc/{await envoy(mesh.vm, 'web')}/environ")
    assert variables.startswith("PATH=")
    assert variables.count("\0") == 1


async def test_the_journal_knows_how_bad_a_line_is(mesh: Mesh) -> None:
    said = await mesh.vm.run("journalctl", "-q", "-u", WEB, "-o", "json")
    lines = [json.loads(line) for line in said.splitlines()]
    priorities = {"debug": "7", "info": "6", "warning": "4", "error": "3"}
    ours = [
        (json.loads(line["MESSAGE"])["level"], line["PRIORITY"])
        for line in lines
        if line["MESSAGE"].startswith("{")
    ]
    assert ours
    assert all(priorities[level] == priority for level, priority in ours)


async def test_a_boot_waits_for_no_zone(mesh: Mesh) -> None:
    kept = [mesh.vm.root / "var/lib/mesh" / name / "lastgood.json" for name in ("web", "api")]
    await eventually(lambda: all(file.exists() for file in kept), what="last known good is kept")
    await mesh.zone.run("systemctl", "stop", "mesh-zone")
    try:
        await mesh.vm.reboot()
        for unit in (WEB, API, "mesh.target"):
            assert (await show(mesh.vm, unit, "ActiveState"))["ActiveState"] == "active"
        assert "last known good" in await says(mesh.vm, WEB, "last known good")
        await mesh.answers()
    finally:
        await mesh.zone.run("systemctl", "start", "mesh-zone")
    await says(mesh.vm, WEB, "ready; follows zone dc1")


async def test_what_never_enrolled_says_what_it_waits_for(mesh: Mesh) -> None:
    text = PROXY.format(service="db", zone=mesh.bed.address) + API_SETTINGS.replace("150", "151")
    await mesh.vm.write("/etc/mesh/proxy-db.yaml", text, mode="0640", group="mesh")
    await mesh.vm.write("/etc/mesh/proxy-db.token", mesh.tokens[0], mode="0600")
    db = "mesh-proxy@db.service"
    await mesh.vm.run("systemctl", "start", "--no-block", db)
    try:
        await says(mesh.vm, db, "waits for the zone: ")
        assert (await show(mesh.vm, db, "ActiveState"))["ActiveState"] == "activating"
        warnings = await mesh.vm.run("journalctl", "-q", "-p", "warning", "-u", db, "-o", "cat")
        assert "not enrolled yet" in warnings
        assert '"level": "info"' not in warnings
    finally:
        await mesh.vm.run("systemctl", "stop", db)


async def test_a_gateway_may_have_a_low_port(mesh: Mesh) -> None:
    text = f"""role: zone-gateway
zone_api: ["{mesh.zone.address}:5678"]
registration: zone
inbound_port: 443
listen: 127.0.0.1:15040
concurrency: 1
drain: 1s
"""
    await mesh.vm.write("/etc/mesh/gateway.yaml", text, mode="0640", group="mesh")
    token = await join_token(mesh.zone, "mesh-gateway")
    await mesh.vm.write("/etc/mesh/gateway.token", token, mode="0600")
    port = "CapabilityBoundingSet=CAP_NET_BIND_SERVICE\nAmbientCapabilities=CAP_NET_BIND_SERVICE\n"
    drop_in = "/run/systemd/system/mesh-gateway.service.d/test.conf"
    await mesh.vm.write(drop_in, f"[Service]\n{port}")
    await mesh.vm.run("systemctl", "daemon-reload")
    await mesh.vm.run("systemctl", "start", "mesh-gateway")
    try:
        assert "envoy" in await mesh.vm.run("ss", "-Hltnp", "sport", "=", ":443")
    finally:
        await mesh.vm.run("systemctl", "stop", "mesh-gateway")


async def test_the_rate_limit_service_starts(mesh: Mesh) -> None:
    await mesh.vm.write("/etc/mesh/ratelimit.yaml", "{}\n", mode="0640", group="mesh")
    await mesh.vm.run("systemctl", "start", "mesh-ratelimit")
    assert "counts for proxies" in await says(mesh.vm, "mesh-ratelimit", "ready")
    await mesh.vm.run("systemctl", "stop", "mesh-ratelimit")


async def test_a_stop_leaves_nothing_running(mesh: Mesh) -> None:
    assert not await _none_runs(mesh.vm)
    await mesh.vm.run("systemctl", "stop", "mesh.target")
    try:
        await eventually(lambda: _none_runs(mesh.vm), what="all have ended")
        assert await mesh.call() is None
    finally:
        await mesh.vm.run("systemctl", "start", "mesh.target")
    await mesh.answers()


async def _none_runs(host: Host) -> bool:
    return not (await host.finished("ps", "-u", "mesh", "-o", "pid=,args=")).output
