"""Configuration entries, raw: their meaning is for whoever reads them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

import msgspec

from mesh.clients.consul.answers import Answer
from mesh.clients.consul.calls import Calls, affirmed

_LIST = msgspec.json.Decoder(tuple[dict[str, Any], ...] | None)
_ONE = msgspec.json.Decoder(dict[str, Any] | None)


def _entries(body: bytes) -> tuple[dict[str, Any], ...]:
    return _LIST.decode(body) or ()


class ConfigEntries(Calls):
    """``/v1/config``."""

    async def config_list(
        self, kind: str = "", *, index: int = 0, wait: float = 0, token: str = ""
    ) -> Answer[tuple[dict[str, Any], ...]]:
        """Return the entries of ``kind``, or of every kind at once."""
        return await self._read(
            f"/v1/config/{quote(kind, safe='')}", _entries, index=index, wait=wait, token=token
        )

    async def config_get(
        self, kind: str, name: str, *, index: int = 0, wait: float = 0, token: str = ""
    ) -> Answer[dict[str, Any] | None]:
        """Return an entry; None if there is none."""
        return await self._read(
            f"/v1/config/{quote(kind, safe='')}/{quote(name, safe='')}",
            _ONE.decode,
            index=index,
            wait=wait,
            token=token,
        )

    async def config_put(
        self, entry: Mapping[str, Any], *, cas: int | None = None, token: str = ""
    ) -> bool:
        """Write an entry; False if the compare-and-set lost.  ``cas`` 0: only if it is new."""
        # The library drops a cas of 0.
        params = () if cas is None else (("cas", str(cas)),)
        return affirmed(await self._write("PUT", "/v1/config", entry, token=token, params=params))

    async def config_delete(
        self, kind: str, name: str, *, cas: int | None = None, token: str = ""
    ) -> bool:
        """Delete an entry; False if the compare-and-set (Consul 1.11) lost."""
        params = () if cas is None else (("cas", str(cas)),)
        path = f"/v1/config/{quote(kind, safe='')}/{quote(name, safe='')}"
        return affirmed(await self._write("DELETE", path, token=token, params=params))
