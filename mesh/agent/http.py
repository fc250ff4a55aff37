"""HTTP requests of an agent: few, small, each with a deadline.

:mod:`http.client` in a worker thread rather than an asyncio HTTP library, because the latter
alone takes 15 MB of the process's 45 and a fifth of a second of its start.
"""

from __future__ import annotations

import asyncio
import http.client
import json
import socket
import ssl
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import urlsplit

from mesh.model import hostport

_MOST: Final = 64 * 1024 * 1024
_LOCAL: Final = ThreadPoolExecutor(max_workers=4, thread_name_prefix="local")
"""For Unix sockets.  A resolver that is down holds each thread that asks it for many seconds; the
threads of the others may all wait for it, and Envoy must be looked after all the same."""


class RequestError(Exception):
    """No answer came; the cause says why."""


@dataclass(frozen=True, slots=True)
class Response:
    """What a server answered."""

    status: int
    body: bytes
    headers: Mapping[str, str] = field(default_factory=dict)

    @property
    def ok(self) -> bool:
        """Whether the server did what it was asked."""
        return 200 <= self.status < 300  # noqa: PLR2004 - HTTP's successes

    def json(self) -> Any:
        """Read the body as JSON.

        Raises:
            RequestError: it is not.

        """
        try:
            return json.loads(self.body)
        except ValueError as error:
            raise RequestError(f"the answer is not JSON: {error}") from error


@dataclass(frozen=True, slots=True)
class Server:
    """Where to connect: a TCP address or a Unix socket, with TLS to ``server_name`` or without."""

    host: str = "localhost"
    port: int = 0
    unix_socket: str | None = None
    tls: ssl.SSLContext | None = None
    server_name: str | None = None

    @property
    def authority(self) -> str:
        """The value of ``Host``."""
        return hostport.join(self.host, self.port) if self.port else self.host


def from_url(url: str, tls: ssl.SSLContext | None = None) -> tuple[Server, str]:
    """Split a URL into its server and the path with the query.

    ``tls`` is for ``https``; without it the system's authorities are trusted.
    """
    parts = urlsplit(url)
    secure = parts.scheme == "https"
    host = parts.hostname or "localhost"
    port = parts.port or (443 if secure else 80)
    context = (tls or ssl.create_default_context()) if secure else None
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return Server(host, port, tls=context, server_name=host if secure else None), path


async def request(
    server: Server,
    method: str,
    path: str,
    *,
    body: object = None,
    headers: Mapping[str, str] | None = None,
    timeout: float = 5.0,  # noqa: ASYNC109 - it also bounds the worker thread, which cannot be cancelled
) -> Response:
    """Ask ``server`` once; ``body``, if any, is sent as JSON.

    Raises:
        RequestError: no whole answer within ``timeout`` seconds.

    """
    sent = dict(headers or {})
    data = None
    if body is not None:
        data = json.dumps(body).encode()
        sent["Content-Type"] = "application/json"
    sent["Host"] = server.authority
    try:
        async with asyncio.timeout(timeout + 1):
            pool = None if server.unix_socket is None else _LOCAL
            question = (method, path, data, sent)
            loop = asyncio.get_running_loop()
            return await loop.run_in_executor(pool, _ask, server, question, timeout)
    except (OSError, http.client.HTTPException) as error:
        reason = str(error) or type(error).__name__
        raise RequestError(reason) from error


class _Connection(http.client.HTTPConnection):
    def __init__(self, server: Server, timeout: float) -> None:
        super().__init__(server.host, server.port or 80, timeout=timeout)
        self._server = server

    def connect(self) -> None:
        server = self._server
        if server.unix_socket is not None:
            plain = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            plain.settimeout(self.timeout)
            try:
                plain.connect(server.unix_socket)
            except OSError:
                plain.close()
                raise
        else:
            plain = socket.create_connection((server.host, server.port), self.timeout)
        if server.tls is None:
            self.sock = plain
            return
        try:
            self.sock = server.tls.wrap_socket(plain, server_hostname=server.server_name)
        except OSError:
            plain.close()
            raise


def _ask(
    server: Server, question: tuple[str, str, bytes | None, Mapping[str, str]], limit: float
) -> Response:
    connection = _Connection(server, limit)
    try:
        connection.request(*question)
        answer = connection.getresponse()
        body = answer.read(_MOST)
        return Response(answer.status, body, dict(answer.headers.items()))
    finally:
        connection.close()
