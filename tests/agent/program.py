"""``mesh proxy`` as a program that a test starts."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

from mesh.agent import http
from mesh.agent.settings import AgentSettings
from mesh.model.proxies import Inbound
from tests.agent.fakezone import FakeZone

MESH = "import sys; from mesh.cli.main import main; sys.exit(main())"


@dataclass
class Program:
    """One proxy's programs, one after another."""

    settings: AgentSettings
    directory: Path
    zone: FakeZone
    started: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def start(self, *more: str, log: str = "log") -> subprocess.Popen[bytes]:
        """Run ``mesh proxy``."""
        inbound = self.settings.inbound
        assert inbound is not None
        options = {
            "service": self.settings.service,
            "id": self.settings.id,
            "state-dir": self.settings.state_dir,
            "zone-api": f"127.0.0.1:{self.zone.port}",
            "join-token-file": self.settings.proof_file,
            "app": f"127.0.0.1:{inbound.local_port}",
            "inbound-address": inbound.address,
            "inbound-port": inbound.port,
            "listen": f"127.0.0.1:{self.settings.listen[1]}",
            "register": "zone",
            "drain": "2s",
            "concurrency": 1,
        }
        arguments = [part for key, value in options.items() for part in (f"--{key}", str(value))]
        with (self.directory / log).open("wb") as output:
            process = subprocess.Popen(
                [sys.executable, "-c", MESH, "proxy", *arguments, *more],
                stdout=output,
                stderr=output,
            )
        self.started.append(process)
        return process

    async def ask(self, path: str) -> tuple[int, str]:
        """Ask the readiness port."""
        server = http.Server(*self.settings.listen)
        try:
            answer = await http.request(server, "GET", path)
        except http.RequestError:
            return 0, ""
        return answer.status, answer.body.decode()

    async def ready(self) -> bool:
        """Whether the proxy calls itself ready."""
        return (await self.ask("/ready"))[0] == 200

    def log(self, name: str = "log") -> str:
        """Return what a program wrote."""
        return (self.directory / name).read_text()

    def envoys(self) -> list[int]:
        """Return the process ids in the run files."""
        files = self.settings.state_dir.glob("envoy-*.run")
        return [json.loads(each.read_text())["pid"] for each in files]


def inbound(program: Program) -> Inbound:
    """Return where the proxy takes calls."""
    assert program.settings.inbound is not None
    return program.settings.inbound


def proc(pid: int, file: str) -> str:
    """Return what the kernel says of a process."""
    return Path(f"/proc/{pid}/{file}").read_text()
