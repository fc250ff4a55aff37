"""Asks proxies' agents how the calls of some clusters have gone.

An agent answers in plain HTTP, with counters and nothing else.  What it says is bounded and held
to its form; redirects are not followed.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from http import HTTPStatus
from types import TracebackType
from typing import Final, Self

import aiohttp
import msgspec

_LARGEST: Final = 4 * 1024 * 1024


class MeasurementError(Exception):
    """An agent did not answer, or not with measurements."""


class _Answer(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    clusters: dict[str, dict[str, int]]


_DECODER: Final = msgspec.json.Decoder(_Answer)


class MeasurementClient:
    """Open until its block ends."""

    def __init__(self, *, at_once: int = 64, patience: float = 2.0) -> None:
        """Have at most ``at_once`` connections; wait ``patience`` seconds for an answer."""
        self._at_once = at_once
        self._patience = patience
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        """Dial nothing yet."""
        self._session = aiohttp.ClientSession(
            # An agent closes each connection after its answer.
            connector=aiohttp.TCPConnector(limit=self._at_once, force_close=True),
            cookie_jar=aiohttp.DummyCookieJar(),
        )
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close every connection."""
        if self._session is not None:
            await self._session.close()

    async def ask(
        self, place: str, clusters: Collection[str], *, hosts: bool = False
    ) -> Mapping[str, Mapping[str, int]]:
        """Return the counters of ``clusters`` at the agent of ``place`` (host and port).

        Raises:
            MeasurementError: there is no answer, or no valid one.

        """
        if self._session is None:
            raise MeasurementError("the client is not open")
        query = [("cluster", name) for name in clusters]
        query += [("hosts", "true")] if hosts else []
        try:
            async with self._session.get(
                f"http://{place}/measurements",
                params=query,
                allow_redirects=False,
                timeout=aiohttp.ClientTimeout(total=self._patience),
            ) as answer:
                body = await _bounded(answer)
                status = answer.status
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            reason = str(error) or type(error).__name__
            raise MeasurementError(f"{place} does not answer: {reason}") from error
        if status != HTTPStatus.OK:
            raise MeasurementError(f"{place} answers {status}")
        try:
            return _DECODER.decode(body).clusters
        except ValueError as error:
            raise MeasurementError(f"{place} does not answer with measurements: {error}") from error


async def _bounded(answer: aiohttp.ClientResponse) -> bytes:
    body = bytearray()
    async for chunk in answer.content.iter_chunked(65_536):
        body += chunk
        if len(body) > _LARGEST:
            break
    return bytes(body[:_LARGEST])
