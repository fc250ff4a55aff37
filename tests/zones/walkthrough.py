"""The commands of a guide, typed on the hosts that it names, in the zones of the bed.

A page is its sections, each with its blocks in order.  The first line of a block in ``sh`` is a
comment with the host; the last part of that name is the zone.  What the page calls by example
(``zone-1.west.example:5678``, ``10.0.2.11``, ``/etc/mesh``) is put where it is on the bed, and
nothing else is changed.  For ``systemctl`` there is a stand-in: it has what the unit says started.
"""

from __future__ import annotations

import asyncio
import os
import re
import stat
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import yaml

from mesh.demo.processes import Child, start
from tests import realconsul
from tests.docs.blocks import Block
from tests.docs.places import ROOT
from tests.zones.bed import Bed, Zone

_PARTS: Final = re.compile(
    r"^## (?P<title>[^\n]*)$|^```(?P<language>\w+)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL
)
_HOST: Final = re.compile(r"# (?P<host>[\w.-]+)")
_ADDRESS: Final = re.compile(r"\b10\.0\.(?P<zone>\d)\.(?P<host>\d+)\b")
_API: Final = re.compile(r"\bzone-1\.(?P<zone>\w+)\.example:5678\b")
_FOLDER: Final = re.compile(r"(?<![\w.])/(etc/mesh|var/lib/mesh)\b")
_UNIT: Final = ROOT / "systemd" / "mesh-proxy@.service"
_EXEC: Final = re.compile(r"^ExecStart=/usr/local/bin/(.*)$", re.MULTILINE)
_SYSTEMCTL: Final = '#!/bin/sh\n[ "$1 $2" = "enable --now" ] && echo "$3" >> "$UNITS"\n'
_OF_CONSUL: Final = re.compile(r"^consul ", re.MULTILINE)


class CommandError(AssertionError):
    """A command of the guide failed; the message has what it printed."""


def sections(page: Path) -> dict[str, list[Block]]:
    """Return the blocks of ``page`` by the heading above them."""
    found: dict[str, list[Block]] = {}
    title = ""
    for part in _PARTS.finditer(page.read_text(encoding="utf-8")):
        if part["title"] is not None:
            title = part["title"]
        else:
            found.setdefault(title, []).append(Block(part["language"], part["text"]))
    return found


@dataclass(slots=True)
class Walkthrough:
    """A page on its way over ``bed``; each host has its files below ``directory``.

    The token ``administrator`` is used for what begins with ``consul``, ``operator`` for
    everything else.
    """

    bed: Bed
    directory: Path
    administrator: Path
    operator: Path
    units: list[Child] = field(default_factory=list)

    def zone(self, host: str) -> Zone:
        """Return the zone of a host."""
        return self.bed.zones[host.rpartition(".")[2]]

    def folder(self, host: str) -> Path:
        """Return what stands for ``/etc/mesh`` of a host; its commands are typed there."""
        found = self.directory / host / "etc" / "mesh"
        found.mkdir(parents=True, exist_ok=True)
        return found

    async def typed(self, block: Block, host: str = "") -> str:
        """Type one block where it says, or on ``host``, and return what it prints.

        Raises:
            CommandError: a command failed.

        """
        named = _HOST.match(block.text)
        assert named is not None, f"it does not say where:\n{block.text}"
        host = host or named["host"]
        units = self.directory / "units"
        units.unlink(missing_ok=True)
        process = await asyncio.create_subprocess_exec(
            *self.zone(host).host.prefix,
            *("bash", "-euo", "pipefail", "-c", self.placed(block.text, host)),
            cwd=self.folder(host),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env=self._environment(host, is_consul=bool(_OF_CONSUL.search(block.text))),
        )
        output, errors = await process.communicate()
        if process.returncode:
            raise CommandError(f"{block.text}\n{output.decode()}\n{errors.decode()}")
        for unit in units.read_text().split() if units.exists() else ():
            await self._start(unit.partition("@")[2], host)
        return output.decode()

    def placed(self, text: str, host: str) -> str:
        """Return ``text`` with the places of the bed in it."""
        zones = list(self.bed.zones.values())

        def address(found: re.Match[str]) -> str:
            zone = zones[int(found["zone"]) - 1]
            return zone.network.address(zone.name, int(found["host"]))

        text = _API.sub(lambda found: self.bed.zones[found["zone"]].estate.zone_api, text)
        text = _ADDRESS.sub(address, text)
        return _FOLDER.sub(rf"{self.directory / host}/\1", text)

    def _environment(self, host: str, *, is_consul: bool) -> dict[str, str]:
        programs = (self._stand_ins(), ROOT / ".venv" / "bin", realconsul.binary().parent)
        return {
            **self.zone(host).estate.environment(),
            "PATH": os.pathsep.join((*map(str, programs), os.defpath)),
            "HOME": str(self.directory),
            "LANG": "C.UTF-8",
            "UNITS": str(self.directory / "units"),
            "CONSUL_HTTP_TOKEN_FILE": str(self.administrator if is_consul else self.operator),
        }

    def _stand_ins(self) -> Path:
        found = self.directory / "bin"
        if not found.exists():
            found.mkdir()
            systemctl = found / "systemctl"
            systemctl.write_text(_SYSTEMCTL)
            systemctl.chmod(systemctl.stat().st_mode | stat.S_IXUSR)
        return found

    async def _start(self, instance: str, host: str) -> None:
        """Start what the unit says, and wait until it is ready.

        Hosts of one zone share a network here, so each listens on its own address only.
        """
        zone, home, folder = self.zone(host), self.directory / host, self.folder(host)
        (home / "join-token").write_bytes((folder / f"proxy-{instance}.token").read_bytes())
        said = _EXEC.search(_UNIT.read_text())
        assert said is not None
        words = said[1].replace("%i", instance).replace("%S", "/var/lib")
        words = self.placed(words.replace("${CREDENTIALS_DIRECTORY}", str(home)), host)
        settings: dict[str, Any] = yaml.safe_load((folder / f"proxy-{instance}.yaml").read_text())
        address = str(settings["advertise_address"])
        child = await start(
            host,
            [*zone.host.prefix, "sh", "-c", f"exec {words}"],
            log=home / "log",
            environment={
                **self._environment(host, is_consul=False),
                "MESH_PROXY_ID": f"{instance}-{host}",
                "MESH_PROXY_INBOUND_ADDRESS": address,
                "MESH_PROXY_LISTEN": f"{address}:15020",
                "MESH_PROXY_CONCURRENCY": "1",
                "MESH_PROXY_HEALTH__INTERVAL": "1s",
            },
        )
        self.units.append(child)
        await child.answers(f"http://{address}:15020/ready")
