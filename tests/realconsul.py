"""A real Consul server for tests, on free loopback ports, gone when the test is.

    with RealConsul(tmp_path) as consul:
        requests to consul.url, with consul.token if acls=True

The binary is the one that ``tests/testbed/consul.sh`` keeps in the test cache.  Only the
process started here is ever stopped, and its data is removed.
"""

from __future__ import annotations

import asyncio
import http.client
import json
import os
import shutil
import subprocess
import time
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from mesh.demo.loopback import free_ports

_SCRIPT = Path(__file__).parent / "testbed" / "consul.sh"
_START_SECONDS = 30.0
_POLL_SECONDS = 0.05
_OK = 200
BOOTSTRAP_TOKEN = "b0075a47-0000-4000-8000-000000000001"


class ConsulDidNotStartError(Exception):
    """The server had no leader in time; the message ends with its log."""


def binary() -> Path:
    """Return the path of the Consul binary, fetching it if the cache has none."""
    cache = os.getenv("TESTBED_CACHE") or str(Path.home() / ".cache" / "mesh-testbed")
    cached = Path(cache) / "consul" / "usr" / "bin" / "consul"
    if cached.exists():
        return cached
    ran = subprocess.run([str(_SCRIPT)], check=True, stdout=subprocess.PIPE, text=True)
    return Path(ran.stdout.strip())


class RealConsul:
    """One Consul server with Connect.  A context manager, synchronous or asynchronous."""

    def __init__(
        self,
        directory: Path,
        *,
        datacenter: str = "dc1",
        acls: bool = False,
        default_policy: str = "deny",
        config: dict[str, Any] | None = None,
    ) -> None:
        """Keep data and log below ``directory``; ``config`` is merged into the server's."""
        self._home = directory / f"consul-{datacenter}-{os.getpid()}-{id(self):x}"
        self._datacenter = datacenter
        self._acls = acls
        self._default_policy = default_policy
        self._extra = config or {}
        self._process: subprocess.Popen[bytes] | None = None
        self.port = 0
        self.url = ""
        self.node_name = f"{datacenter}-server"
        self.token = BOOTSTRAP_TOKEN if acls else ""

    @property
    def pid(self) -> int:
        """The server's process, for tests that stop or freeze it."""
        if self._process is None:
            raise RuntimeError("the server is not running")
        return self._process.pid

    def start(self) -> None:
        """Start the server and wait until it leads.

        Raises:
            ConsulDidNotStartError: it does not within half a minute.

        """
        self._home.mkdir(parents=True)
        try:
            self._launch()
            self._await_leader()
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """End the server's process and remove its data."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.wait()
        shutil.rmtree(self._home, ignore_errors=True)

    def __enter__(self) -> Self:
        """Start."""
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Stop."""
        self.stop()

    async def __aenter__(self) -> Self:
        """Start without holding up the event loop."""
        await asyncio.to_thread(self.start)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Stop without holding up the event loop."""
        await asyncio.to_thread(self.stop)

    def _launch(self) -> None:
        self.port, rpc, serf = free_ports(3)
        self.url = f"http://127.0.0.1:{self.port}"
        config = self._config(rpc, serf)
        for key, value in self._extra.items():
            known = config.get(key)
            if isinstance(known, dict) and isinstance(value, dict):
                config[key] = {**known, **value}
            else:
                config[key] = value
        path = self._home / "consul.json"
        path.write_text(json.dumps(config))
        with (self._home / "log").open("wb") as log:
            self._process = subprocess.Popen(
                [str(binary()), "agent", "-config-file", str(path)],
                stdout=log,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
            )

    def _config(self, rpc: int, serf: int) -> dict[str, Any]:
        config: dict[str, Any] = {
            "server": True,
            "bootstrap": True,
            "datacenter": self._datacenter,
            "node_name": self.node_name,
            "bind_addr": "127.0.0.1",
            "client_addr": "127.0.0.1",
            "data_dir": str(self._home / "data"),
            "log_level": "WARN",
            "disable_update_check": True,
            "connect": {"enabled": True},
            "performance": {"raft_multiplier": 1},
            "limits": {"http_max_conns_per_client": 10_000},
            "ports": {
                "http": self.port,
                "server": rpc,
                "serf_lan": serf,
                "serf_wan": -1,
                "dns": -1,
                "grpc": -1,
            },
        }
        if self._acls:
            config["acl"] = {
                "enabled": True,
                "default_policy": self._default_policy,
                "tokens": {"master": BOOTSTRAP_TOKEN, "agent": BOOTSTRAP_TOKEN},
            }
        return config

    def _await_leader(self) -> None:
        deadline = time.monotonic() + _START_SECONDS
        # A leader is elected a moment before it registers itself and can hand out sessions.
        while not (self._answers("/v1/status/leader", '"127') and self._registered()):
            if self._process is None or self._process.poll() is not None:
                raise ConsulDidNotStartError(f"Consul ended:\n{self._log()}")
            if time.monotonic() > deadline:
                raise ConsulDidNotStartError(
                    f"Consul has no leader after {_START_SECONDS:.0f} s:\n{self._log()}"
                )
            time.sleep(_POLL_SECONDS)

    def _registered(self) -> bool:
        if not self._answers(f"/v1/health/node/{self.node_name}", "serfHealth"):
            return False
        return self._answers("/v1/connect/ca/roots", "RootCert") and (
            not self._acls or self._answers("/v1/acl/token/self", BOOTSTRAP_TOKEN)
        )

    def _answers(self, path: str, expected: str) -> bool:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=5)
        headers = {"X-Consul-Token": self.token} if self.token else {}
        try:
            connection.request("GET", path, headers=headers)
            answer = connection.getresponse()
            return answer.status == _OK and expected in answer.read().decode()
        except OSError:
            return False
        finally:
            connection.close()

    def _log(self) -> str:
        path = self._home / "log"
        return path.read_text(errors="replace") if path.exists() else ""
