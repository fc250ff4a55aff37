"""Gateways of an estate, each the real program."""

from __future__ import annotations

import json
import sys
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

_VARIABLES: Final = {"PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin", "LANG": "C.UTF-8"}
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
        """End agent and Envoy at once, as when the host is lost."""
        await self.child.kill()
        end_all(StateDir(self.state))


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
