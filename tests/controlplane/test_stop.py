"""A zone that still waits for Consul can be stopped."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from pathlib import Path

import pytest

from mesh.demo.loopback import HOST, free_ports
from mesh.demo.processes import start


@pytest.mark.timeout(60)
async def test_sigterm_ends_a_zone_whose_consul_is_away(tmp_path: Path) -> None:
    consul, api, xds, metrics = free_ports(4)
    settings = {
        "zone": "dc1",
        "data_dir": str(tmp_path / "zone"),
        "consul": {"url": f"http://{HOST}:{consul}"},
        "listen": {"api": f"{HOST}:{api}", "xds": f"{HOST}:{xds}", "metrics": f"{HOST}:{metrics}"},
    }
    config = tmp_path / "zone.yaml"
    config.write_text(json.dumps(settings))
    command = [sys.executable, "-m", "mesh.cli", "zone", "--config", str(config)]
    zone = await start("zone", command, log=tmp_path / "log", environment={"HOME": str(tmp_path)})
    try:
        await zone.listens(metrics)
        zone.process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(10):
            assert await zone.process.wait() == 0, zone.tail()
    finally:
        await zone.kill()
