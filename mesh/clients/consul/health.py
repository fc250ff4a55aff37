"""Instances with their checks."""

from __future__ import annotations

from urllib.parse import quote

import msgspec

from mesh.clients.consul.answers import Answer, HealthCheck, HealthEntry
from mesh.clients.consul.calls import Calls

_ENTRIES = msgspec.json.Decoder(tuple[HealthEntry, ...])
_CHECKS = msgspec.json.Decoder(tuple[HealthCheck, ...])


class Health(Calls):
    """``/v1/health``."""

    async def health_connect(
        self, service: str, *, index: int = 0, wait: float = 0, token: str = ""
    ) -> Answer[tuple[HealthEntry, ...]]:
        """Return the sidecars of ``service``, healthy or not."""
        return await self._read(
            f"/v1/health/connect/{quote(service, safe='')}",
            _ENTRIES.decode,
            index=index,
            wait=wait,
            token=token,
        )

    async def health_service(
        self, service: str, *, index: int = 0, wait: float = 0, token: str = ""
    ) -> Answer[tuple[HealthEntry, ...]]:
        """Return the instances of ``service`` itself, healthy or not."""
        return await self._read(
            f"/v1/health/service/{quote(service, safe='')}",
            _ENTRIES.decode,
            index=index,
            wait=wait,
            token=token,
        )

    async def health_state(
        self, state: str = "any", *, index: int = 0, wait: float = 0, token: str = ""
    ) -> Answer[tuple[HealthCheck, ...]]:
        """Return every check in ``state`` (``any``, ``passing``, ``warning``, ``critical``)."""
        return await self._read(
            f"/v1/health/state/{state}", _CHECKS.decode, index=index, wait=wait, token=token
        )
