"""Intentions, whichever way the servers keep them.

Consul 1.8 has an API of its own, with one record per pair of services and no L7.  From 1.9 on
a configuration entry per destination holds all its sources; changing one source is a
read-modify-write of that entry, guarded by compare-and-set.
"""

from __future__ import annotations

import enum
from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import quote

import msgspec

from mesh.clients.consul.answers import Answer
from mesh.clients.consul.calls import read
from mesh.clients.consul.configentries import ConfigEntries
from mesh.clients.consul.errors import Call, Refused, Unsupported
from mesh.clients.consul.intention_entries import (
    KIND,
    parse_entry,
    parse_legacy,
    written_name,
)
from mesh.clients.consul.intention_writer import source_of, with_source, without_source
from mesh.clients.consul.transport import Transport
from mesh.model.intentions import Intention
from mesh.model.names import WILDCARD

_RECORDS = msgspec.json.Decoder(tuple[dict[str, Any], ...] | None)
_VERDICT = msgspec.json.Decoder(dict[str, Any])
_ATTEMPTS = 16
_PATH = "/v1/connect/intentions"


class Dialect(enum.StrEnum):
    """How Consul's servers keep intentions."""

    LEGACY = "legacy"
    CONFIG_ENTRIES = "config-entries"


def _records(body: bytes) -> tuple[dict[str, Any], ...]:
    return _RECORDS.decode(body) or ()


class Intentions(ConfigEntries):
    """Lists, changes and asks about intentions."""

    def __init__(self, transport: Transport, dialect: Callable[..., Awaitable[Dialect]]) -> None:
        """``dialect`` tells, when asked with a ``token``, what the servers speak."""
        super().__init__(transport)
        self._dialect = dialect

    async def list(self, *, token: str = "") -> tuple[Intention, ...]:
        """Return every intention.

        Raises:
            InvalidInputError: one of them is malformed; the error names it.

        """
        if await self._dialect(token=token) is Dialect.LEGACY:
            records = await self.legacy(token=token)
            return tuple(parse_legacy(record) for record in records.value)
        entries = await self.config_list(KIND, token=token)
        return tuple(intention for entry in entries.value for intention in parse_entry(entry))

    async def put(self, intention: Intention, *, token: str = "") -> None:
        """Create ``intention``, or replace the one between the same two services.

        Raises:
            Unsupported: the servers are too old for L7 permissions or JWT.

        """
        if await self._dialect(token=token) is Dialect.LEGACY:
            await self._put_legacy(intention, token)
            return
        try:
            await self._change(
                intention.destination, lambda entry: with_source(entry, intention), token
            )
        except Refused as error:
            if "JWT" in error.words and "invalid config key" in error.words:
                raise Unsupported("an intention with a JWT", "1.16", error.call) from error
            if "Peer" in error.words and "invalid config key" in error.words:
                raise Unsupported(
                    "an intention for a peer's callers", "1.13", error.call
                ) from error
            raise

    async def delete(self, source: str, destination: str, *, token: str = "") -> bool:
        """Delete the intention between two services; False if there is none."""
        if await self._dialect(token=token) is Dialect.LEGACY:
            known = await self._legacy_id(source, destination, token)
            if known:
                await self.library.intentions.delete(known, token=token or None)
            return bool(known)
        entry = (await self.config_get(KIND, destination, token=token)).value or {}
        if all(source_of(item) != source for item in entry.get("Sources") or ()):
            return False
        await self._change(destination, lambda entry: without_source(entry or {}, source), token)
        return True

    async def check(self, source: str, destination: str, *, token: str = "") -> bool:
        """Ask Consul whether ``source`` may connect to ``destination`` (L4 only)."""
        reply = await self.library.intentions.check(source, destination, token=token or None)
        return bool(read(reply, _VERDICT.decode).get("Allowed"))

    async def has_catch_all(self, *, token: str = "") -> bool:
        """Whether there is an intention from anybody to anybody."""
        if await self._dialect(token=token) is Dialect.LEGACY:
            return bool(await self._legacy_id(WILDCARD, WILDCARD, token))
        entry = (await self.config_get(KIND, WILDCARD, token=token)).value or {}
        return any(item.get("Name") == WILDCARD for item in entry.get("Sources") or ())

    async def legacy(
        self, *, index: int = 0, wait: float = 0, token: str = ""
    ) -> Answer[tuple[dict[str, Any], ...]]:
        """Return the records of ``/v1/connect/intentions``, raw.

        From 1.9 on they are a view of the configuration entries.
        """
        return await self._read(_PATH, _records, index=index, wait=wait, token=token)

    async def _change(
        self,
        destination: str,
        change: Callable[[dict[str, Any] | None], dict[str, Any]],
        token: str,
    ) -> None:
        for _ in range(_ATTEMPTS):
            entry = (await self.config_get(KIND, destination, token=token)).value
            cas = int(entry.get("ModifyIndex", 0)) if entry else 0
            written = change(entry)
            if written["Sources"]:
                done = await self.config_put(written, cas=cas, token=token)
            else:
                done = entry is None or await self.config_delete(
                    KIND, destination, cas=cas, token=token
                )
            if done:
                return
        call = Call("PUT", f"/v1/config {KIND}/{destination}", self.transport.address.url)
        raise Refused(
            call,
            409,
            f"the entry changed {_ATTEMPTS} times while it was being written",
            "Try again; something else writes to it all the time.",
        )

    async def _put_legacy(self, intention: Intention, token: str) -> None:
        call = Call("PUT", _PATH, self.transport.address.url)
        if intention.permissions:
            raise Unsupported("an intention with L7 permissions", "1.9", call)
        if intention.jwt:
            raise Unsupported("an intention with a JWT", "1.16", call)
        body = {
            "SourceName": written_name(intention.source),
            "DestinationName": intention.destination,
            "SourceType": "consul",
            "Action": intention.action,
            "Description": intention.description,
        }
        known = await self._legacy_id(intention.source, intention.destination, token)
        if not known:
            try:
                await self._write("POST", _PATH, body, token=token)
            except Refused:
                # Somebody else may have created it since; if so, theirs is replaced.
                known = await self._legacy_id(intention.source, intention.destination, token)
                if not known:
                    raise
        if known:
            await self._write("PUT", f"{_PATH}/{quote(known, safe='')}", body, token=token)

    async def _legacy_id(self, source: str, destination: str, token: str) -> str:
        pair = (written_name(source), destination)
        for record in (await self.legacy(token=token)).value:
            if (record["SourceName"], record["DestinationName"]) == pair:
                return str(record["ID"])
        return ""
