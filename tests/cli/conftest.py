"""What the commands are run against: a real Consul, the embedded registry, a runner."""

from __future__ import annotations

import asyncio
import http.client
import json
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from typer.testing import CliRunner, Result

from mesh.cli.main import app
from mesh.embedded.server import EmbeddedRegistry
from tests.cli.documents import QUICK, SLOW
from tests.realconsul import RealConsul

_VARIABLES = (
    "CONSUL_CACERT",
    "CONSUL_CLIENT_CERT",
    "CONSUL_CLIENT_KEY",
    "CONSUL_HTTP_ADDR",
    "CONSUL_HTTP_TOKEN",
    "CONSUL_HTTP_TOKEN_FILE",
    "MESH_ADMIN_TOKEN_FILE",
    "MESH_BUNDLE_FILE",
    "MESH_ZONE_API",
    "VAULT_ADDR",
    "VAULT_CACERT",
    "VAULT_NAMESPACE",
    "VAULT_TOKEN",
    "VAULT_TOKEN_FILE",
)

Mesh = Callable[..., Result]
"""Runs ``mesh`` with the arguments given."""


class Registry:
    """The embedded registry in a thread, so that commands can run their own event loop."""

    def __init__(self, directory: Path) -> None:
        """Keep the state below ``directory``."""
        self.url = ""
        self._directory = directory
        self._started = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()))
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop: asyncio.Event | None = None

    def start(self) -> None:
        """Start, and wait until it listens."""
        self._thread.start()
        assert self._started.wait(30)

    def close(self) -> None:
        """Stop, and wait until it has."""
        if self._loop is not None and self._stop is not None:
            self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(30)
        assert not self._thread.is_alive()

    async def _serve(self) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        registry = EmbeddedRegistry(self._directory)
        self.url = await registry.start("127.0.0.1", 0)
        self._started.set()
        await self._stop.wait()
        await registry.close()


def put(url: str, path: str, body: Mapping[str, Any], token: str = "") -> None:
    """Send ``body`` to a Consul."""
    place = urlsplit(url)
    connection = http.client.HTTPConnection(place.hostname or "", place.port, timeout=10)
    try:
        headers = {"X-Consul-Token": token} if token else {}
        connection.request("PUT", path, json.dumps(body), headers)
        answer = connection.getresponse()
        assert answer.status == 200, answer.read()
    finally:
        connection.close()


@pytest.fixture
def bare_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing of this host's environment reaches a command."""
    for name in _VARIABLES:
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def mesh(bare_environment: None) -> Mesh:
    """The command, with nothing of this host's environment."""

    def run(*arguments: str, env: Mapping[str, str] | None = None, **more: Any) -> Result:
        result = CliRunner().invoke(app, arguments, env=env, **more)
        # A defect must not pass for an exit code.
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result

    return run


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[str]:
    """The URL of an empty embedded registry (1.9 dialect)."""
    served = Registry(tmp_path / "registry")
    served.start()
    try:
        yield served.url
    finally:
        served.close()


@pytest.fixture(scope="session")
def legacy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealConsul]:
    """A real Consul 1.8 with ACLs."""
    with RealConsul(tmp_path_factory.mktemp("consul"), acls=True) as consul:
        yield consul


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """A directory of two documents."""
    found = tmp_path / "policies"
    found.mkdir()
    (found / "both.yaml").write_text(f"{SLOW}---\n{QUICK}")
    (found / "notes.txt").write_text("not for the mesh")
    return found
