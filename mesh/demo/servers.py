"""The servers that a mesh stands on, real ones: OpenBao (or Vault) and Consul.

Each is started in its development form, on a directory of its own.
"""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Callable, Coroutine, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

from mesh.demo.hosts import LOOPBACK, Host
from mesh.demo.processes import Child

Start = Callable[[str, Sequence[str], Mapping[str, str]], Coroutine[Any, Any, Child]]
"""Starts a named command with variables added to its environment."""

_NOTHING: Final[Mapping[str, Any]] = MappingProxyType({})


async def start_vault(start: Start, binary: str, home: Path, listen: str) -> tuple[str, Path]:
    """Start ``binary`` on ``home``; return its URL and the file with its root token."""
    token = secrets.token_hex(16)
    server = await start(
        "vault",
        [binary, "server", "-dev", "-dev-no-store-token"],
        {
            "HOME": str(home),
            "BAO_DEV_ROOT_TOKEN_ID": token,
            "VAULT_DEV_ROOT_TOKEN_ID": token,
            "BAO_DEV_LISTEN_ADDRESS": listen,
            "VAULT_DEV_LISTEN_ADDRESS": listen,
        },
    )
    await server.answers(f"http://{listen}/v1/sys/health")
    root = home / "root-token"
    descriptor = os.open(root, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as opened:
        opened.write(token)
    return f"http://{listen}", root


async def start_consul(
    start: Start,
    binary: str,
    home: Path,
    *,
    host: Host = LOOPBACK,
    settings: Mapping[str, Any] = _NOTHING,
) -> str:
    """Start a server of one from ``binary`` on ``home``; return its URL.

    ``settings`` are laid over the server's own.
    """
    http, server, serf = host.free_ports(3)
    off = dict.fromkeys(("serf_wan", "dns", "grpc"), -1)
    chosen: dict[str, Any] = {
        "datacenter": "dc1",
        "data_dir": str(home / "data"),
        "server": True,
        "bootstrap_expect": 1,
        "bind_addr": host.address,
        "client_addr": host.address,
        "connect": {"enabled": True},
        "performance": {"raft_multiplier": 1},
        "limits": {"http_max_conns_per_client": 1000},
        "ports": {"http": http, "server": server, "serf_lan": serf, **off},
    }
    for section, values in settings.items():
        is_section = isinstance(values, Mapping)
        chosen[section] = {**chosen.get(section, {}), **values} if is_section else values
    config = home / "consul.json"
    config.write_text(json.dumps(chosen, indent=2))
    child = await start("consul", [binary, "agent", "-config-file", str(config)], {})
    url = f"http://{host.at(chosen['ports']['http'])}"
    # A service's health asks the leader, so this answers once there is one.
    await child.answers(f"{url}/v1/health/service/consul?consistent")
    return url
