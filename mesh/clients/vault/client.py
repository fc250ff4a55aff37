"""Requests to Vault with a token that is kept alive.

hvac blocks, so each request runs in a thread, a few at a time.  In the background the token is
renewed at half of its life, and a new login replaces it when renewal is refused or its maximum
life is near.  A request that is forbidden first asks whether the token still lives: a dead one is
replaced and the request sent again, a living one lacks a policy, and the error says which.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Any, Final

from mesh.aio.backoff import Backoff
from mesh.aio.clock import Clock, SystemClock
from mesh.aio.tasks import Tasks
from mesh.clients.vault.auth.method import AuthMethod
from mesh.clients.vault.errors import (
    VaultError,
    VaultForbiddenError,
    VaultLoginError,
    VaultRefusedError,
)
from mesh.clients.vault.lease import Step, TokenLease
from mesh.clients.vault.transport import Answer, Transport, VaultSettings
from mesh.model.violations import Report

__all__ = ["Answer", "VaultClient", "VaultSettings", "WarningCallback"]

logger = logging.getLogger(__name__)

WarningCallback = Callable[[str, str], None]
"""Told of each warning in an answer: the path asked, and Vault's words."""

_THREADS: Final = 4
_NOT_FOUND: Final = 404
# A sleeping machine's clock jumps; look again now and then rather than trust one long sleep.
_LONGEST_SLEEP: Final = timedelta(minutes=5)
_RETRY_CAP: Final = 30.0


class VaultClient:
    """An async client that is logged in from :meth:`start` to :meth:`close`."""

    def __init__(
        self,
        settings: VaultSettings,
        auth: AuthMethod,
        *,
        clock: Clock | None = None,
        on_warning: WarningCallback | None = None,
    ) -> None:
        """Take where Vault is and how to log in.

        Raises:
            InvalidInputError: options of ``auth`` are missing or wrong.
            HvacMissingError: hvac is not installed.

        """
        report = Report(f"Vault auth {auth.name!r}")
        auth.validate(report)
        report.close()
        self._transport = Transport(settings)
        self._auth = auth
        self._clock = clock or SystemClock()
        self._on_warning = on_warning
        self._threads = asyncio.Semaphore(_THREADS)
        self._logging_in = asyncio.Lock()
        self._lease: TokenLease | None = None
        self._tasks = Tasks("vault client")
        self.trouble = ""
        """Why the token could not be kept alive, if it could not."""

    @property
    def address(self) -> str:
        """Where Vault is."""
        return self._transport.address

    async def start(self) -> None:
        """Log in, and keep the token alive from now on.

        Raises:
            VaultError: the login failed.

        """
        await self._login(None)
        self._tasks.spawn("keep the token alive", self._keep_alive(), forever=True)

    async def close(self) -> None:
        """Stop renewing and close the connections.  The token is left to expire."""
        await self._tasks.close()
        self._lease = None
        await asyncio.to_thread(self._transport.close)

    async def read(self, path: str) -> Answer:
        """Read ``path``."""
        return await self._request("get", path)

    async def find(self, path: str) -> Answer | None:
        """Read ``path``, or return None if there is nothing."""
        try:
            return await self._request("get", path)
        except VaultRefusedError as error:
            if error.status == _NOT_FOUND:
                return None
            raise

    async def list(self, path: str) -> tuple[str, ...]:
        """List the keys below ``path``; none if there is nothing."""
        try:
            answer = await self._request("list", path)
        except VaultRefusedError as error:
            if error.status == _NOT_FOUND:
                return ()
            raise
        return tuple(answer.data.get("keys", ()))

    async def write(self, path: str, body: Mapping[str, Any] | None = None) -> Answer:
        """Write ``body`` to ``path``."""
        return await self._request("post", path, body or {})

    async def delete(self, path: str) -> Answer:
        """Delete ``path``."""
        return await self._request("delete", path)

    async def _request(
        self, method: str, path: str, body: Mapping[str, Any] | None = None
    ) -> Answer:
        lease = self._lease or await self._login(None)
        try:
            answer = await self._call(lambda: self._send(method, path, body, lease))
        except VaultForbiddenError:
            if await self._lives(lease):
                raise
            fresh = await self._login(lease)
            answer = await self._call(lambda: self._send(method, path, body, fresh))
        for warning in answer.warnings:
            logger.warning("Vault warns", extra={"path": path, "warning": warning})
            if self._on_warning is not None:
                self._on_warning(path, warning)
        return answer

    def _send(
        self, method: str, path: str, body: Mapping[str, Any] | None, lease: TokenLease
    ) -> Answer:
        return self._transport.request(method, path, body, token=lease.token)

    async def _call(self, blocking: Callable[[], Answer]) -> Answer:
        async with self._threads:
            return await asyncio.to_thread(blocking)

    async def _lives(self, lease: TokenLease) -> bool:
        try:
            await asyncio.to_thread(self._transport.look_up, lease.token)
        except VaultLoginError:
            return False
        return True

    async def _login(self, stale: TokenLease | None) -> TokenLease:
        async with self._logging_in:
            if self._lease is not None and self._lease is not stale:
                return self._lease  # somebody else was first
            login = await asyncio.to_thread(self._auth.authenticate, self._transport)
            self._lease = TokenLease.granted(
                login.token,
                seconds=login.seconds,
                renewable=login.renewable,
                now=self._clock.now(),
            )
            self.trouble = ""
            logger.info(
                "logged in to Vault",
                extra={
                    "address": self.address,
                    "method": self._auth.name,
                    "seconds": login.seconds,
                    "renewable": login.renewable,
                },
            )
            return self._lease

    async def _keep_alive(self) -> None:
        backoff = Backoff(1.0, _RETRY_CAP)
        while True:
            lease, now = self._lease, self._clock.now()
            if lease is None:
                return
            wait = min(lease.wait(now), _LONGEST_SLEEP)
            await self._clock.sleep(wait.total_seconds() + (backoff.next() if self.trouble else 0))
            if lease is not self._lease or not lease.due(self._clock.now()):
                continue
            try:
                await self._extend(lease)
            except VaultError as error:
                self.trouble = f"the Vault token could not be renewed: {error}"
                logger.warning("Vault token not renewed", extra={"error": str(error)})
            else:
                backoff.reset()

    async def _extend(self, lease: TokenLease) -> None:
        if lease.next_step is Step.RENEW:
            try:
                answer = await self._call(
                    lambda: self._send("post", "auth/token/renew-self", {}, lease)
                )
            except (VaultForbiddenError, VaultRefusedError) as error:
                logger.info("Vault refused a renewal", extra={"error": str(error)})
            else:
                self._lease = lease.renewed(
                    seconds=int(answer.auth["lease_duration"]),
                    renewable=bool(answer.auth["renewable"]),
                    now=self._clock.now(),
                )
                self.trouble = ""
                return
        await self._login(lease)
