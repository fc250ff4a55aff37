"""What is called in a zone: a program that says where it runs.

::

    python -m tests.zones.application --zone a --name api-1 --listen 10.61.1.1:20005

Over HTTP every path is answered with the zone's and the instance's name, as JSON and as the
headers ``x-zone`` and ``x-instance``; ``/wait/0.5`` half a second late.  Over TCP it says both on
a first line and then echoes whatever comes.
"""

from __future__ import annotations

import argparse
import asyncio
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from aiohttp import web

ZONE_HEADER: Final = "x-zone"
_WAIT: Final = "/wait/"


@dataclass(frozen=True, slots=True)
class Application:
    """One instance."""

    zone: str
    name: str

    async def http(self, address: str, port: int) -> None:
        """Serve HTTP."""
        application = web.Application()
        application.router.add_route("*", "/{path:.*}", self._answer)
        runner = web.AppRunner(application, access_log=None)
        await runner.setup()
        await web.TCPSite(runner, address, port).start()

    async def tcp(self, address: str, port: int) -> None:
        """Serve TCP."""
        await asyncio.start_server(self._echo, address, port)

    async def _answer(self, request: web.Request) -> web.Response:
        await request.read()
        if request.path.startswith(_WAIT):
            await asyncio.sleep(float(request.path.removeprefix(_WAIT)))
        said = {"zone": self.zone, "instance": self.name, "path": request.path}
        headers = {ZONE_HEADER: self.zone, "x-instance": self.name}
        return web.json_response(said, headers=headers)

    async def _echo(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError):
            writer.write(f"{self.zone} {self.name}\n".encode())
            while some := await reader.read(65_536):
                writer.write(some)
                await writer.drain()
        writer.close()


async def serve() -> None:
    """Serve until the process is ended."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--zone", required=True)
    parser.add_argument("--name", required=True)
    parser.add_argument("--listen", required=True)
    parser.add_argument("--protocol", choices=("http", "tcp"), default="http")
    said = parser.parse_args()
    address, _, port = said.listen.rpartition(":")
    application = Application(said.zone, said.name)
    listen = application.http if said.protocol == "http" else application.tcp
    await listen(address, int(port))
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(serve())
