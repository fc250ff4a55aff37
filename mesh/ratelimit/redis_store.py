"""Counters in Redis, shared by all instances of the service.

A decision has one deadline, however many steps it takes; who has no answer by then is told that
there is none.  Every failure wakes the *keeper*, which tries what decisions do, a script that
may write, until it works.  Only the keeper says whether Redis is there: a single slow answer
makes one request fail, while a Redis that is gone makes all fail at once, without each waiting
for its deadline.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, NoReturn

from limits.aio.storage import RedisStorage
from redis import exceptions
from redis.asyncio import BlockingConnectionPool
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.credentials import CredentialProvider

from mesh.aio.backoff import Backoff
from mesh.aio.clock import Clock
from mesh.config.ratelimit import RedisSettings
from mesh.ratelimit.counting import Limiter, Verdict
from mesh.ratelimit.errors import StoreUnavailableError
from mesh.ratelimit.requests import Hit

_PROBE: Final = "probe"
"""Key that the keeper tries with; no digest is written like it."""
_PROBE_WITHIN: Final = 1.0
"""Seconds that the keeper's try may take: more than a decision, for it has to connect."""
_BASE: Final = 0.1
_CAP: Final = 2.0
_FAILURES: Final = (exceptions.RedisError, OSError, TimeoutError)

logger = logging.getLogger(__name__)


class RedisStore:
    """Decides over counters in one Redis."""

    def __init__(self, settings: RedisSettings, clock: Clock) -> None:
        """Connect to nothing yet: :meth:`keep` does."""
        self._where = settings.url
        self._clock = clock
        self._within = settings.timeout.total_seconds()
        self._pool = _pool(settings)
        # The library hands on to the client what is not its own, and types only numbers and text.
        options: dict[str, Any] = {"connection_pool": self._pool}
        self._storage = RedisStorage(
            f"async+{settings.url}",
            implementation="redispy",
            key_prefix=settings.key_prefix,
            **options,
        )
        self._limiter = Limiter(self._storage)
        self._doubt = asyncio.Event()
        self._problem = "it was not reached yet"

    async def decide(self, hits: Sequence[Hit]) -> list[Verdict]:
        """Take all of ``hits`` if each has room, else none.

        Raises:
            StoreUnavailableError: Redis is gone, or did not answer in time.

        """
        if self._problem:
            raise StoreUnavailableError("away", self._reason())
        try:
            async with asyncio.timeout(self._within):
                return await self._limiter.decide(hits)
        except _FAILURES as error:
            self._doubt.set()
            kind, said = _described(error)
            raise StoreUnavailableError(kind, f"Redis at {self._where}: {said}") from error

    def reasons(self) -> Sequence[str]:
        """Return why Redis cannot be asked, if it cannot."""
        return (self._reason(),) if self._problem else ()

    async def keep(self) -> NoReturn:
        """Try Redis at the start and after each failure, with back-off until it works."""
        backoff = Backoff(_BASE, _CAP)
        while True:
            self._doubt.clear()
            problem = await self._try()
            self._note(problem)
            if problem:
                await self._clock.sleep(backoff.next())
            else:
                backoff.reset()
                await self._doubt.wait()

    async def close(self) -> None:
        """Close all connections."""
        await self._pool.aclose()

    async def _try(self) -> str:
        try:
            async with asyncio.timeout(_PROBE_WITHIN):
                await self._storage.acquire_sliding_window_entry(_PROBE, 1, 60, 0)
        except _FAILURES as error:
            return _described(error)[1]
        return ""

    def _note(self, problem: str) -> None:
        if bool(problem) != bool(self._problem):
            level = logging.WARNING if problem else logging.INFO
            said = "Redis is gone" if problem else "Redis is there"
            logger.log(level, said, extra={"redis": self._where, "reason": problem or None})
        elif problem != self._problem:
            logger.warning("Redis is still away", extra={"redis": self._where, "reason": problem})
        self._problem = problem

    def _reason(self) -> str:
        return f"Redis at {self._where} cannot be asked: {self._problem}"


class _File(CredentialProvider):
    """Reads the password anew for each connection, so that it can be replaced."""

    def __init__(self, username: str, file: Path) -> None:
        self._username = username
        self._file = file

    def get_credentials(self) -> tuple[str] | tuple[str, str]:
        """Return the name, if there is one, and the password."""
        # What is not text is a wrong password, which Redis refuses like any other.
        password = self._file.read_text(encoding="utf-8", errors="replace").strip()
        return (self._username, password) if self._username else (password,)

    async def get_credentials_async(self) -> tuple[str] | tuple[str, str]:
        """Return the same: a line of a local file is read at once."""
        return self.get_credentials()


def _pool(settings: RedisSettings) -> BlockingConnectionPool:
    more: dict[str, Any] = {}
    if settings.password_file is not None:
        more["credential_provider"] = _File(settings.username, settings.password_file)
    if settings.ca_file is not None:
        more["ssl_ca_certs"] = str(settings.ca_file)
    return BlockingConnectionPool.from_url(
        settings.url,
        max_connections=settings.max_connections,
        # The decision's deadline ends every wait.
        timeout=None,
        socket_timeout=None,
        # A connection that Redis closed while it lay idle is opened again within the call.
        retry=Retry(NoBackoff(), 1),
        **more,
    )


def _described(error: BaseException) -> tuple[str, str]:
    """Return one word for the metrics, and what happened."""
    if isinstance(error, TimeoutError | exceptions.TimeoutError):
        return "timeout", "no answer in time"
    if isinstance(error, exceptions.AuthenticationError):
        return "refused", f"it refuses the password: {error}"
    if isinstance(error, exceptions.ConnectionError | OSError):
        return "connection", str(error) or type(error).__name__
    return "refused", str(error) or type(error).__name__
