"""Calls as the applications of the estate make them."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import aiohttp
import grpc

from mesh.demo.estate import HOST, Estate


@dataclass(frozen=True, slots=True)
class Answer:
    """An HTTP answer; ``json`` is what :func:`tests.traffic.applications.http` says."""

    status: int
    headers: Mapping[str, str]
    text: str
    json: Mapping[str, Any]
    seconds: float

    @property
    def instance(self) -> str:
        """The name of the instance that answered; empty if a proxy did."""
        return self.headers.get("x-instance", "")


@dataclass
class Calls:
    """What a caller's application can do."""

    estate: Estate
    session: aiohttp.ClientSession

    def port(self, service: str, *, caller: str = "web") -> int:
        """Return where ``caller``'s application dials ``service``."""
        return self.estate.services[caller].upstreams[service]

    def url(self, service: str, path: str = "/", *, caller: str = "web") -> str:
        """Return the URL at which ``caller``'s application calls ``service``."""
        return f"http://{HOST}:{self.port(service, caller=caller)}{path}"

    async def call(
        self,
        path: str = "/",
        *,
        service: str = "api",
        caller: str = "web",
        method: str = "GET",
        headers: Mapping[str, str] | None = None,
        body: bytes | None = None,
    ) -> Answer:
        """Make one HTTP call as ``caller``'s application would, following no redirect."""
        began = time.monotonic()
        async with self.session.request(
            method,
            self.url(service, path, caller=caller),
            headers=headers,
            data=body,
            allow_redirects=False,
        ) as answer:
            text = await answer.text()
            found = await answer.json() if answer.content_type == "application/json" else {}
            took = time.monotonic() - began
            return Answer(answer.status, answer.headers.copy(), text, found, took)

    async def tally(self, count: int, path: str = "/", **options: Any) -> Counter[str]:
        """Make ``count`` calls, eight at a time; count who answered, or else the status."""
        gate = asyncio.Semaphore(8)

        async def one() -> str:
            async with gate:
                answer = await self.call(path, **options)
                return answer.instance if answer.status == 200 else str(answer.status)

        return Counter(await asyncio.gather(*(one() for _ in range(count))))

    async def rpc(self, method: str = "Greet", *, caller: str = "web", timeout: float = 10) -> str:  # noqa: ASYNC109 - gRPC's own deadline
        """Call the gRPC application; return who answered, or the status's name."""
        address = f"{HOST}:{self.port('greeter', caller=caller)}"
        async with grpc.aio.insecure_channel(address) as channel:
            try:
                answer = await channel.unary_unary(f"/demo.Greeter/{method}")(b"", timeout=timeout)
            except grpc.aio.AioRpcError as error:
                return str(error.code().name)
            return bytes(answer).decode()

    async def dial(self, service: str = "store", *, caller: str = "web") -> str:
        """Open a TCP connection; return the name that the instance says, empty if it closed."""
        reader, writer = await asyncio.open_connection(HOST, self.port(service, caller=caller))
        try:
            return (await asyncio.wait_for(reader.readline(), 10)).decode().strip()
        except ConnectionError:
            return ""
        finally:
            writer.close()
