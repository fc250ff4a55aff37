"""A small mesh under systemd, on two hosts.

One has the zone, on a registry of its own; the other has ``web``, which calls ``api`` beside it,
each with its own proxy.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from tests.traffic.waiting import until
from tests.vms.host import Bed, Host, hosts
from tests.zones.namespaces import socket_in

_ZONE: Final = """\
zone: dc1
embedded: true
advertise: {{api: "{address}:5678", xds: ["{address}:5679"]}}
"""
PROXY: Final = """\
service: {service}
zone_api: ["{zone}:5678"]
registration: zone
concurrency: 1
drain: 1s
health: {{kind: none}}
"""
_WEB: Final = 'upstreams: ["api:9001"]\n'
API_SETTINGS: Final = "app: 127.0.0.1:8081\ninbound_port: 15016\nlisten: 127.0.0.1:15030\n"
_ECHO: Final = """\
import socketserver
class Echo(socketserver.StreamRequestHandler):
    def handle(self):
        for line in self.rfile: self.wfile.write(line)
socketserver.ThreadingTCPServer(("127.0.0.1", 8081), Echo).serve_forever()
"""
_APP: Final = """\
[Service]
ExecStart=/usr/bin/python3 /opt/echo.py
[Install]
WantedBy=multi-user.target
"""
WEB: Final = "mesh-proxy@web.service"
API: Final = "mesh-proxy@api.service"


@dataclass(frozen=True, slots=True)
class Mesh:
    """The two hosts, and the join tokens of the second."""

    bed: Bed
    zone: Host
    vm: Host
    tokens: tuple[str, ...]

    async def call(self, line: str = "hello") -> str | None:
        """Call api as web does; return the answer, None if there is none."""
        try:
            async with asyncio.timeout(5), self.connection() as talk:
                answer: str = await talk(line)
                return answer
        except (OSError, TimeoutError):
            return None

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[Any]:
        """A connection to api that stays: it answers one line after another."""
        opened = socket_in(self.vm.namespace)
        try:
            await asyncio.get_running_loop().sock_connect(opened, ("127.0.0.1", 9001))
        except OSError:
            opened.close()
            raise
        reader, writer = await asyncio.open_connection(sock=opened)

        async def talk(line: str) -> str:
            writer.write(f"{line}\n".encode())
            async with asyncio.timeout(5):
                answer = (await reader.readline()).decode().strip()
            if not answer:
                raise ConnectionError("closed")
            return answer

        try:
            yield talk
        finally:
            writer.close()

    async def answers(self) -> None:
        """Wait until calls are answered."""

        async def answered() -> bool | None:
            return await self.call() == "hello" or None

        await until("web reaches api", answered, patience=30)


async def show(host: Host, unit: str, *names: str) -> dict[str, str]:
    """Return properties of a unit."""
    said = await host.run("systemctl", "show", unit, f"--property={','.join(names)}")
    return dict(line.split("=", 1) for line in said.splitlines())


async def says(host: Host, unit: str, words: str) -> str:
    """Wait until the status line of a unit has ``words``, and return it."""

    async def said() -> str | None:
        line = (await show(host, unit, "StatusText"))["StatusText"]
        return line if words in line else None

    return await until(f"{unit} says {words!r}", said)


async def envoy(host: Host, service: str) -> int:
    """Return the process id of the one Envoy of a proxy."""
    (pid,) = [
        json.loads(file.read_text())["pid"]
        for file in (host.root / "var/lib/mesh" / service).glob("envoy-*.run")
    ]
    return int(pid)


@asynccontextmanager
async def meshed(layers: list[Path]) -> AsyncIterator[Mesh]:
    """The mesh, with a call answered."""
    async with hosts("zone", "vm", layers=layers) as bed:
        zone, vm = bed["zone"], bed["vm"]
        own = {"mode": "0640", "group": "mesh"}
        await zone.write("/etc/mesh/zone.yaml", _ZONE.format(address=zone.address), **own)
        await zone.run("systemctl", "enable", "--now", "--quiet", "mesh.target", "mesh-zone")
        tokens = [await join_token(zone, service) for service in ("web", "api")]
        await zone.run("sh", "-c", f"{_ADMIN} mesh intention allow web api")
        await vm.write("/opt/echo.py", _ECHO)
        await vm.write("/etc/systemd/system/app.service", _APP)
        for service, token, more in zip(("web", "api"), tokens, (_WEB, API_SETTINGS), strict=True):
            text = PROXY.format(service=service, zone=zone.address) + more
            await vm.write(f"/etc/mesh/proxy-{service}.yaml", text, **own)
            await vm.write(f"/etc/mesh/proxy-{service}.token", token, mode="0600")
        started = await vm.finished("systemctl", "enable", "--now", "mesh.target", "app", WEB, API)
        assert started.code == 0, await vm.run("journalctl", "-q", "-u", "mesh-proxy@*")
        found = Mesh(bed, zone, vm, tuple(tokens))
        await found.answers()
        yield found


_ADMIN: Final = (
    "MESH_ZONE_API=127.0.0.1:5678 MESH_ADMIN_TOKEN_FILE=/var/lib/mesh-zone/admin-token "
    "MESH_BUNDLE_FILE=/var/lib/mesh-zone/bundle.pem "
    "CONSUL_HTTP_TOKEN=$(cat /var/lib/mesh-zone/registry-token)"
)


async def join_token(zone: Host, service: str) -> str:
    command = f"{_ADMIN} mesh token create --service {service} --ttl 1h"
    return (await zone.run("sh", "-c", command)).split()[-1]
