"""Requests over connections that are kept, each sent when the last was answered.

By ``wrk`` where it is on the PATH, or by sockets of our own, which cost more: which it was belongs
to every figure.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import shutil
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Self
from urllib.parse import urlsplit

from tests.bench.report import quantile

_MARGIN: Final = 10.0
_SAY: Final = """
done = function(summary, latency, requests)
  local e = summary.errors
  io.write(string.format(
    '\\n{"requests": %d, "seconds": %.6f, "p50": %.1f, "p99": %.1f, "failed": %d}\\n',
    summary.requests, summary.duration / 1e6, latency:percentile(50), latency:percentile(99),
    e.connect + e.read + e.write + e.status + e.timeout))
end
"""


class BurstError(Exception):
    """Requests failed, or none was answered."""


@dataclass(frozen=True, slots=True)
class Burst:
    """What became of some seconds of requests; latencies in microseconds."""

    requests: int
    seconds: float
    p50: float
    p99: float


class Generator:
    """Makes bursts; ``name`` tells how."""

    def __init__(self, directory: Path) -> None:
        """Choose; ``directory`` takes a script."""
        self._binary = shutil.which("wrk")
        self._script = directory / "say.lua"
        self._script.write_text(_SAY)

    @property
    def name(self) -> str:
        """What sends the requests."""
        return "wrk" if self._binary else "sockets"

    async def burst(self, url: str, connections: int, seconds: int) -> Burst:
        """Ask ``url`` for ``seconds``.

        Raises:
            BurstError: an answer was another than 200, or there was none.

        """
        if self._binary:
            said = await self._wrk(self._binary, url, connections, seconds)
        else:
            said = await sockets(url, connections, seconds)
        failed = int(said.pop("failed"))
        if failed or not said["requests"]:
            raise BurstError(f"{url}: {failed} of {said['requests']} requests failed")
        return Burst(**said)

    async def _wrk(self, binary: str, url: str, connections: int, seconds: int) -> dict[str, Any]:
        process = await asyncio.create_subprocess_exec(
            *(binary, "--threads", "1", "--connections", str(connections)),
            *("--duration", f"{seconds}s", "--timeout", "5s"),
            *("--script", str(self._script), url),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        try:
            async with asyncio.timeout(seconds + _MARGIN):
                output, _ = await process.communicate()
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        if process.returncode:
            raise BurstError(f"wrk ended with code {process.returncode}: {output.decode()}")
        return read(output.decode())


def read(output: str) -> dict[str, Any]:
    """Return what the script said, which is the last line that wrk prints."""
    found: dict[str, Any] = json.loads(output.strip().rpartition("\n")[2])
    return found


async def sockets(url: str, connections: int, seconds: int) -> dict[str, Any]:
    """Do what wrk does, dearer."""
    host, _, port = urlsplit(url).netloc.partition(":")
    request = f"GET / HTTP/1.1\r\nhost: {host}\r\n\r\n".encode()
    found = _Tally()
    loop = asyncio.get_running_loop()
    callers = []
    for _ in range(connections):
        _, caller = await loop.create_connection(lambda: _Caller(request, found), host, int(port))
        callers.append(caller)
    began = time.perf_counter()
    for caller in callers:
        caller.ask()
    await asyncio.sleep(seconds)
    found.is_over = True
    elapsed = time.perf_counter() - began
    for caller in callers:
        caller.close()
    micro = [each * 1e6 for each in found.took] or [0.0]
    return {
        "requests": len(found.took),
        "seconds": elapsed,
        "p50": quantile(micro, 0.5),
        "p99": quantile(micro, 0.99),
        "failed": found.failed,
    }


@dataclass(slots=True)
class _Tally:
    took: list[float] = field(default_factory=list)
    failed: int = 0
    is_over: bool = False


class _Caller(asyncio.Protocol):
    def __init__(self, request: bytes, tally: _Tally) -> None:
        self._request = request
        self._tally = tally
        self._transport: asyncio.Transport | None = None
        self._began = 0.0
        self._answer = Answer()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def ask(self) -> None:
        """Send a request."""
        if self._transport is not None:
            self._answer = Answer()
            self._began = time.perf_counter()
            self._transport.write(self._request)

    def close(self) -> None:
        """End the connection."""
        if self._transport is not None:
            self._transport.abort()

    def data_received(self, data: bytes) -> None:
        if self._answer.feed(data).is_whole and not self._tally.is_over:
            self._tally.took.append(time.perf_counter() - self._began)
            self._tally.failed += not self._answer.is_ok
            self.ask()

    def connection_lost(self, error: Exception | None) -> None:
        del error
        self._tally.failed += not self._tally.is_over


@dataclass(slots=True)
class Answer:
    """One answer with a ``content-length``, as it comes in."""

    _data: bytearray = field(default_factory=bytearray)
    _whole: int = 0

    def feed(self, data: bytes) -> Self:
        """Take what came."""
        self._data += data
        if not self._whole:
            head, end, _ = bytes(self._data).partition(b"\r\n\r\n")
            length = head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0]
            with contextlib.suppress(ValueError):
                self._whole = len(head) + len(end) + int(length) if end else 0
        return self

    @property
    def is_whole(self) -> bool:
        """Whether all of it is there."""
        return 0 < self._whole <= len(self._data)

    @property
    def is_ok(self) -> bool:
        """Whether it is a 200."""
        return self._data.startswith(b"HTTP/1.1 200")
