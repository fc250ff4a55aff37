"""Gateways of an estate, each the real program."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from mesh.agent.state import StateDir
from mesh.demo.estate import HOST, Estate, free_ports
from mesh.demo.processes import Child, start
from mesh.model.proxies import GATEWAYS, Role
from tests.agent.envoys import end_all
from tests.traffic.waiting import until
from tests.zones.load import Calls, Load

_VARIABLES: Final = {"PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin", "LANG": "C.UTF-8"}
_RATE: Final = 200
"""Requests per second that a load has at least."""
_MOST: Final = 2000.0
"""Requests per second that a load has at most: more than callers manage here."""
_SECONDS: Final = 60.0
"""Seconds after which a load ends in any case."""
_DIES_WITHIN: Final = 20.0
"""Seconds that a gateway which is killed may take to be gone."""
_NOTICED: Final = 0.25
"""Seconds that a caller's Envoy may take to read that a connection has ended; until then a call may
still be sent on it."""
_OPTIONS: Final = {Role.ZONE_GATEWAY: "--ingress", Role.EGRESS: "--egress"}


@dataclass(frozen=True, slots=True)
class Gateway:
    """A running gateway."""

    id: str
    port: int
    ready_port: int
    state: Path
    child: Child
    log: Path

    async def ready(self) -> None:
        """Wait until it serves."""
        await self.child.answers(f"http://{HOST}:{self.ready_port}/ready")

    async def kill(self) -> None:
        """End agent and Envoy at once, and wait until nobody listens any more."""
        await self.child.kill()
        end_all(StateDir(self.state))

        async def gone() -> bool | None:
            try:
                _, writer = await asyncio.open_connection(HOST, self.port)
            except OSError:
                return True
            writer.close()
            return None

        await until(f"{self.id} is gone", gone)


async def start_gateway(
    stack: AsyncExitStack,
    estate: Estate,
    role: Role,
    name: str,
    settings: Mapping[str, Any] | None = None,
) -> Gateway:
    """Start a gateway of ``estate``, which ends with ``stack``."""
    port, ready = free_ports(2)
    token, state = estate.directory / f"{name}.join-token", estate.directory / name
    await estate.mesh(["token", "create", "--service", GATEWAYS[role], "--out", str(token)])
    config = estate.directory / f"{name}.yaml"
    document = {
        "id": name,
        "state_dir": str(state),
        "zone_api": [estate.zone_api],
        "join_token_file": str(token),
        "inbound_address": HOST,
        "inbound_port": port,
        "advertise_address": HOST,
        "consul": {"url": estate.consul_url},
        "listen": f"{HOST}:{ready}",
        "concurrency": 1,
        "drain": 5,
        **(settings or {}),
    }
    config.write_text(json.dumps(document, indent=2))
    stack.callback(lambda: end_all(StateDir(state)) if state.exists() else None)
    log = estate.directory / f"{name}.log"
    command = [sys.executable, "-m", "mesh.cli", "gateway", _OPTIONS[role], "--config", str(config)]
    child = await start(name, command, log=log, environment=_VARIABLES)
    stack.push_async_callback(child.stop)
    return Gateway(name, port, ready, state, child, log)


async def killed_under_load(url: str, gateway: Gateway, *, callers: int = 12) -> Calls:
    """Kill ``gateway`` while ``callers`` call ``url``; return the calls that began later.

    Raises:
        AssertionError: there were fewer than 200 calls a second, or one failed that was not under
            way when it happened.
        TimeoutError: the gateway did not die.

    """
    async with Load({"calls": url}, rate=_MOST, callers=callers, seconds=_SECONDS) as load:
        calls = load.calls["calls"]
        await load.reach(300)
        assert calls.failed == 0, str(calls)
        began, before = time.monotonic(), calls.sent
        async with asyncio.timeout(_DIES_WITHIN):
            await gateway.kill()
        dead = time.monotonic()
        await load.reach(2000)
        rate = (calls.sent - before) / (time.monotonic() - began)
    assert rate > _RATE, f"{rate:.0f} requests/s"
    # Each caller had one call under way when it happened.
    assert calls.failed <= callers, str(calls)
    return calls.since(dead + _NOTICED)
