"""HTTP to a Consul agent: one pool of connections, a deadline per call, our own errors.

A blocking query holds its connection for as long as it waits, and Consul keeps the slot of a
cancelled one until its wait ends; so the pool is bounded below the agent's
``http_max_conns_per_client`` (200), past which Consul drops connections without a word.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlencode

import aiohttp
import yarl

from mesh.clients.consul.address import ConsulAddress
from mesh.clients.consul.errors import Call, Forbidden, Refused, Timeout, Unreachable

MARGIN = 10.0
"""Seconds an answer may take beyond the wait that was asked for."""

MAX_CONNECTIONS = 190

_NOT_FOUND = 404
_FORBIDDEN = 403
_ERRORS = 400
_WORDS = 500

Params = Sequence[tuple[str, Any]]


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer that Consul did not refuse; 404 is one, for it often means "none"."""

    call: Call
    status: int
    index: int
    body: bytes

    @property
    def found(self) -> bool:
        """Whether the thing asked for exists."""
        return self.status != _NOT_FOUND


class Transport:
    """Sends requests to one Consul agent."""

    def __init__(
        self,
        address: ConsulAddress,
        *,
        max_connections: int = MAX_CONNECTIONS,
        margin: float = MARGIN,
    ) -> None:
        """Nothing is dialled, and no file read, before the first request."""
        self.address = address
        self._max_connections = max_connections
        self._margin = margin
        self._session: aiohttp.ClientSession | None = None

    async def close(self) -> None:
        """Close the pool.  A later request opens a new one."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    async def request(
        self,
        method: str,
        path: str,
        *,
        params: Params = (),
        headers: Mapping[str, str] | None = None,
        body: bytes = b"",
        wait: float = 0.0,
    ) -> Reply:
        """Send one request; ``path`` is percent-encoded already.

        Raises:
            Unreachable: there was no connection, or it broke.
            Timeout: no answer within ``wait`` (and Consul's jitter upon it) plus a margin.
            Forbidden: Consul answered 403.
            Refused: Consul answered with another error status, 404 excepted.

        """
        call = Call(method, path, self.address.url)
        url = yarl.URL(
            f"{self.address.base}{path}" + (f"?{urlencode(params)}" if params else ""),
            encoded=True,
        )
        # Consul adds up to a sixteenth of the wait, to spread the watchers.
        deadline = wait * 17 / 16 + self._margin
        try:
            session = self._session or self._open(call)
            async with (
                asyncio.timeout(deadline),
                session.request(
                    method, url, data=body or None, headers=headers, allow_redirects=False
                ) as response,
            ):
                content = await response.read()
        except TimeoutError as error:
            raise Timeout(call, deadline) from error
        except (aiohttp.ClientError, OSError) as error:
            raise Unreachable(call, str(error) or type(error).__name__) from error
        if response.status >= _ERRORS and response.status != _NOT_FOUND:
            raise _refusal(call, response.status, content)
        index = response.headers.get("X-Consul-Index", "")
        return Reply(call, response.status, int(index) if index.isdigit() else 0, content)

    def _open(self, call: Call) -> aiohttp.ClientSession:
        address = self.address
        if address.socket:
            connector: aiohttp.BaseConnector = aiohttp.UnixConnector(
                address.socket, limit=self._max_connections
            )
        else:
            connector = aiohttp.TCPConnector(
                limit=self._max_connections, ssl=_tls(address, call), ttl_dns_cache=60
            )
        self._session = aiohttp.ClientSession(
            connector=connector,
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=self._margin),
            # Compressing for the agent next door only costs both of us time.
            skip_auto_headers=("Accept-Encoding", "Content-Type"),
            headers={"User-Agent": "mesh"},
        )
        return self._session


def _tls(address: ConsulAddress, call: Call) -> ssl.SSLContext | bool:
    if address.scheme != "https":
        return True
    try:
        context = ssl.create_default_context(cafile=address.ca_file or None)
        if address.cert_file:
            context.load_cert_chain(address.cert_file, address.key_file)
    except OSError as error:
        reason = f"its certificates cannot be read ({address.ca_file or 'system roots'}"
        reason += f", {address.cert_file}): {error}" if address.cert_file else f"): {error}"
        raise Unreachable(call, reason) from error
    return context


def _refusal(call: Call, status: int, content: bytes) -> Refused:
    words = content[:_WORDS].decode(errors="replace").strip()
    return Forbidden(call, words) if status == _FORBIDDEN else Refused(call, status, words)


class LibraryPort:
    """The ``http`` of python-consul2: it hands over what to ask, and gets our reply.

    The callback, which would decode and raise the library's own errors, is left alone.
    """

    def __init__(self, transport: Transport) -> None:
        """Ask over ``transport``."""
        self._transport = transport

    async def _send(
        self, method: str, path: str, params: Params | None, headers: Any, data: Any = b""
    ) -> Reply:
        wait = dict(params or ()).get("wait", "0s")
        return await self._transport.request(
            method,
            quote(path, safe="/:"),
            params=params or (),
            headers=headers,
            body=data.encode() if isinstance(data, str) else data or b"",
            wait=float(wait.removesuffix("s")),
        )

    async def get(
        self, _callback: object, path: str, params: Params | None = None, headers: Any = None
    ) -> Reply:
        """GET."""
        return await self._send("GET", path, params, headers)

    async def put(
        self,
        _callback: object,
        path: str,
        params: Params | None = None,
        data: str | bytes = b"",
        headers: Any = None,
    ) -> Reply:
        """PUT."""
        return await self._send("PUT", path, params, headers, data)

    async def post(
        self,
        _callback: object,
        path: str,
        params: Params | None = None,
        data: str | bytes = b"",
        headers: Any = None,
    ) -> Reply:
        """POST."""
        return await self._send("POST", path, params, headers, data)

    async def delete(
        self,
        _callback: object,
        path: str,
        params: Params | None = None,
        data: str | bytes = b"",
        headers: Any = None,
    ) -> Reply:
        """DELETE."""
        return await self._send("DELETE", path, params, headers, data)
