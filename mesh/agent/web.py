"""The agent's own HTTP server: GET requests to a few fixed paths, one a connection.

Thirty lines of HTTP/1.1 on asyncio streams instead of a server library, for the reason told in
:mod:`mesh.agent.http`: memory.  It reads no bodies, keeps no connection, bounds what it reads and
how long it waits, and listens on loopback unless told otherwise.
"""

from __future__ import annotations

import asyncio
import errno
import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from types import MappingProxyType
from typing import Final

from mesh.agent.ports import taken_error
from mesh.agent.settings import Address

logger = logging.getLogger(__name__)

_MOST: Final = 16 * 1024
_PATIENCE: Final = 5.0
_REQUEST_LINE_PARTS: Final = 3


@dataclass(frozen=True, slots=True)
class Page:
    """An answer."""

    status: HTTPStatus
    body: bytes
    content_type: str = "text/plain; charset=utf-8"


Handler = Callable[[], Awaitable[Page]]
Asked = Callable[[str], Awaitable[Page]]
"""Takes the query, without its question mark."""

_NOTHING: Final[Mapping[str, Asked]] = MappingProxyType({})


async def serve(
    listen: Address, pages: Mapping[str, Handler], questions: Mapping[str, Asked] = _NOTHING
) -> asyncio.Server:
    """Listen, and answer each path with its page; that of ``questions`` turns on the query.

    Raises:
        PortTakenError: somebody else listens there.

    """

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(_PATIENCE):
                writer.write(_encode(await _answer(reader, pages, questions)))
                await writer.drain()
                writer.close()
                await writer.wait_closed()
        except (OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError) as error:
            logger.debug("request not answered", extra={"reason": str(error)})
        finally:
            writer.close()

    try:
        return await asyncio.start_server(connected, *listen, limit=_MOST)
    except OSError as error:
        if error.errno != errno.EADDRINUSE:
            raise
        raise taken_error([f"readiness ({listen[0]}:{listen[1]})"]) from error


async def _answer(
    reader: asyncio.StreamReader, pages: Mapping[str, Handler], questions: Mapping[str, Asked]
) -> Page:
    head = await reader.readuntil(b"\r\n\r\n")
    parts = head.partition(b"\r\n")[0].decode("latin-1").split(" ")
    if len(parts) != _REQUEST_LINE_PARTS or not parts[2].startswith("HTTP/1."):
        return Page(HTTPStatus.BAD_REQUEST, b"not an HTTP/1.1 request\n")
    method, target, _ = parts
    path, _, query = target.partition("?")
    handler, asked = pages.get(path), questions.get(path)
    if handler is None and asked is None:
        known = ", ".join(sorted([*pages, *questions]))
        return Page(HTTPStatus.NOT_FOUND, f"not found; there are {known}\n".encode())
    if method != "GET":
        return Page(HTTPStatus.METHOD_NOT_ALLOWED, b"only GET\n")
    if handler is not None:
        return await handler()
    return await asked(query) if asked is not None else Page(HTTPStatus.NOT_FOUND, b"")


def _encode(page: Page) -> bytes:
    head = (
        f"HTTP/1.1 {page.status.value} {page.status.phrase}\r\n"
        f"Content-Type: {page.content_type}\r\n"
        f"Content-Length: {len(page.body)}\r\n"
        "Connection: close\r\n\r\n"
    )
    return head.encode() + page.body
