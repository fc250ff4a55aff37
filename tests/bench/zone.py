"""The zone under measurement: the real ``mesh zone --embedded`` in a process of its own.

Its registry is filled over HTTP, as any registry is; then the zone starts again, so that what is
measured is a zone that found its estate there, as after every update of the zone.
"""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from collections.abc import Iterable
from contextlib import AsyncExitStack
from datetime import timedelta
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import aiohttp
from cryptography.hazmat.primitives import serialization

from mesh.ca.builtin import builtin_issuer
from mesh.ca.certificates import new_key
from mesh.ca.csr import CheckedCsr
from mesh.clients.consul import ConsulAddress, ConsulClient
from mesh.demo.estate import HOST, TRUST_DOMAIN, free_ports
from mesh.demo.processes import Child, start
from mesh.model.identity import WorkloadId, ZoneId
from tests.bench import process
from tests.bench.shape import ZONE, Shape

_READY_WITHIN: Final = 60.0
_POLL: Final = 0.02
_BATCH: Final = 64
"""Operations that a transaction may have."""
_WRITERS: Final = 8
_TTL: Final = timedelta(hours=24)
_ROOT: Final = Path(__file__).parents[2]


class BenchError(Exception):
    """Nothing can be measured; the message says why."""


class Zone:
    """See the module."""

    identity: Final = ZoneId(TRUST_DOMAIN, ZONE)

    def __init__(self, directory: Path, profile: tuple[str, Path] | None = None) -> None:
        """Keep everything below ``directory``; profile it as ``sampled`` does."""
        self._directory = directory
        self._profile = profile
        self._ports = dict(zip(("registry", "api", "xds", "metrics"), free_ports(4), strict=True))
        self._stack = AsyncExitStack()
        self._child: Child | None = None
        self.xds = (HOST, self._ports["xds"])
        self.bundle = directory / "zone" / "bundle.pem"
        self.ca = directory / "zone" / "ca"

    async def __aenter__(self) -> Self:
        """Start it."""
        try:
            await self._start()
        except BaseException:
            await self._stack.aclose()
            raise
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """End it."""
        await self._stack.aclose()

    def client(self) -> ConsulClient:
        """Return a client of its registry; the caller closes it."""
        token = (self._directory / "zone" / "registry-token").read_text().strip()
        url = f"http://{HOST}:{self._ports['registry']}"
        return ConsulClient(ConsulAddress(url=url, token=token))

    async def restart(self) -> None:
        """End it and start it again on what is on disk."""
        await self._running().stop()
        await self._start()

    def check(self) -> None:
        """Raise if it has ended."""
        self._running().check()

    def cpu(self) -> float:
        """Return the CPU seconds that it has used."""
        return process.cpu(self._running().pid)

    def rss(self) -> float:
        """Return its resident memory in KB."""
        return process.rss(self._running().pid)

    def mark(self) -> None:
        """End a phase of the profile, if there is one."""
        if self._profile is not None:
            self._running().process.send_signal(signal.SIGUSR1)

    def _running(self) -> Child:
        if self._child is None:
            raise BenchError("the zone has not been started")
        return self._child

    async def _start(self) -> None:
        self._directory.mkdir(mode=0o700, exist_ok=True)
        config = self._directory / "zone.yaml"
        listen = {name: f"{HOST}:{self._ports[name]}" for name in ("api", "xds", "metrics")}
        settings: dict[str, Any] = {
            "trust_domain": TRUST_DOMAIN,
            "zone": ZONE,
            "data_dir": str(self._directory / "zone"),
            "embedded": {"listen": f"{HOST}:{self._ports['registry']}"},
            "listen": listen,
        }
        # JSON is YAML.
        config.write_text(json.dumps(settings))
        program = ["-m", "mesh.cli"]
        if self._profile is not None:
            kind, to = self._profile
            program = ["-m", "tests.bench.sampled", kind, str(to)]
        child = await start(
            "zone",
            [sys.executable, *program, "zone", "--config", str(config)],
            log=self._directory / "zone.log",
            environment={"HOME": str(self._directory), "PYTHONPATH": str(_ROOT)},
        )
        self._stack.push_async_callback(child.stop)
        self._child = child
        await self._ready(child)

    async def _ready(self, child: Child) -> None:
        place = f"http://{HOST}:{self._ports['metrics']}/ready"
        async with asyncio.timeout(_READY_WITHIN), aiohttp.ClientSession() as session:
            while True:
                child.check()
                try:
                    async with session.get(place) as answer:
                        if answer.ok:
                            break
                except aiohttp.ClientError:
                    # It does not listen yet.
                    pass
                await asyncio.sleep(_POLL)
            while True:
                child.check()
                try:
                    _, writer = await asyncio.open_connection(*self.xds)
                except OSError:
                    await asyncio.sleep(_POLL)
                else:
                    writer.close()
                    return


async def fill(client: ConsulClient, shape: Shape) -> None:
    """Write the whole estate into the registry."""
    batches: list[list[Any]] = [[]]
    for operations in shape.registrations():
        if len(batches[-1]) + len(operations) > _BATCH:
            batches.append([])
        batches[-1].extend(operations)
    # One after another: what comes later stands on hosts that came before.
    for batch in batches:
        await client.txn(batch)
    entries = list(shape.entries())

    async def write() -> None:
        while entries:
            await client.config_put(entries.pop())

    await asyncio.gather(*(write() for _ in range(_WRITERS)))
    # What divides calls stands on what the service speaks, and on one another.
    for entry in shape.routing():
        await client.config_put(entry)
    await client.txn(list(shape.policies()))


async def issue(ca: Path, services: Iterable[str], directory: Path) -> dict[str, tuple[str, str]]:
    """Return for each of ``services`` the files of a new certificate and its key.

    They are signed as the zone would, by an intermediate of the root in ``ca``.
    """
    issuer = builtin_issuer(ca, Zone.identity)
    await issuer.start()
    files: dict[str, tuple[str, str]] = {}
    try:
        for service in services:
            key = new_key()
            identity = WorkloadId(TRUST_DOMAIN, ZONE, service)
            issued = await issuer.sign(CheckedCsr(identity, key.public_key(), ""), _TTL)
            certificate, secret = directory / f"{service}.pem", directory / f"{service}.key"
            certificate.write_text(issued.chain_pem)
            secret.write_bytes(
                key.private_bytes(
                    serialization.Encoding.PEM,
                    serialization.PrivateFormat.PKCS8,
                    serialization.NoEncryption(),
                )
            )
            files[service] = str(certificate), str(secret)
    finally:
        await issuer.close()
    return files
