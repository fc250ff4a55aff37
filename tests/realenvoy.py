"""A real Envoy with configuration of ours, for what Envoy does with it."""

from __future__ import annotations

import http.client
import json
import subprocess
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from envoy.config.bootstrap.v3 import bootstrap_pb2
from google.protobuf import json_format

from mesh.agent.envoy_process import find_envoy
from mesh.envoy.runtime import RUNTIME

_PATIENCE: Final = 20.0


def bootstrap(listeners: Iterable[Any], clusters: Iterable[Any] = ()) -> str:
    """Return a configuration, in JSON, of these listeners and clusters, run as proxies run."""
    config = bootstrap_pb2.Bootstrap()
    config.node.id = config.node.cluster = "web"
    config.admin.address.socket_address.address = "127.0.0.1"
    config.admin.address.socket_address.port_value = 0
    config.layered_runtime.layers.add(name="mesh").static_layer.update(RUNTIME)
    config.static_resources.listeners.extend(listeners)
    config.static_resources.clusters.extend(clusters)
    return json_format.MessageToJson(config)


def validated(config: str, directory: Path) -> None:
    """Fail unless Envoy accepts ``config``, which is written to ``directory``."""
    file = directory / "envoy.json"
    file.write_text(config)
    command = [str(find_envoy(None)), "--mode", "validate", "-c", str(file), "--log-level", "error"]
    found = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert found.returncode == 0, f"{found.stdout}{found.stderr}"


@contextmanager
def running(config: str, directory: Path) -> Iterator[dict[str, int]]:
    """Run Envoy with ``config``; give the port of each listener."""
    (directory / "envoy.json").write_text(config)
    admin = directory / "admin.address"
    command = [str(find_envoy(None)), "-c", "envoy.json", "--concurrency", "1"]
    command += ["--log-level", "warning", "--file-flush-interval-msec", "20"]
    command += ["--admin-address-path", str(admin), "--use-dynamic-base-id"]
    with (directory / "envoy.log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, cwd=directory)
        try:
            yield _ports(process, admin, directory / "envoy.log")
        finally:
            process.terminate()
            process.wait(10)


def _ports(process: subprocess.Popen[bytes], admin: Path, log: Path) -> dict[str, int]:
    deadline = time.monotonic() + _PATIENCE
    while time.monotonic() < deadline:
        assert process.poll() is None, log.read_text()
        # Envoy writes the address once the listeners of the bootstrap are bound.
        if admin.exists() and (address := admin.read_text().strip()):
            connection = http.client.HTTPConnection(address, timeout=10)
            try:
                connection.request("GET", "/listeners?format=json")
                found = json.loads(connection.getresponse().read())
            finally:
                connection.close()
            listeners = found.get("listener_statuses", ())
            ports = {
                each["name"]: each["local_address"]["socket_address"]["port_value"]
                for each in listeners
            }
            if ports and all(ports.values()):
                return ports
        time.sleep(0.05)
    raise AssertionError(f"envoy does not listen: {log.read_text()}")
