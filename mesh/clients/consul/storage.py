"""Keys and values, the sessions that hold them, and transactions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote

import msgspec

from mesh.clients.consul.answers import Answer, KeyValue
from mesh.clients.consul.calls import Calls, affirmed, anything, read
from mesh.clients.consul.errors import Refused

_PAIRS = msgspec.json.Decoder(tuple[KeyValue, ...] | None)
_KEYS = msgspec.json.Decoder(tuple[str, ...] | None)
_VERDICTS = msgspec.json.Decoder(list[dict[str, Any]])
_SESSION = msgspec.json.Decoder(dict[str, str])


def _pairs(body: bytes) -> tuple[KeyValue, ...]:
    return _PAIRS.decode(body) or ()


def _keys(body: bytes) -> tuple[str, ...]:
    return _KEYS.decode(body) or ()


def _first(body: bytes) -> KeyValue | None:
    return next(iter(_pairs(body)), None)


class Storage(Calls):
    """``/v1/kv``, ``/v1/session`` and ``/v1/txn``."""

    async def kv_get(
        self, key: str, *, index: int = 0, wait: float = 0, token: str = ""
    ) -> Answer[KeyValue | None]:
        """Return the pair at ``key``; its value is None where there is none."""
        return await self._read(f"/v1/kv/{quote(key)}", _first, index=index, wait=wait, token=token)

    async def kv_list(
        self, prefix: str, *, index: int = 0, wait: float = 0, token: str = ""
    ) -> Answer[tuple[KeyValue, ...]]:
        """Return every pair below ``prefix``."""
        return await self._read(
            f"/v1/kv/{quote(prefix)}",
            _pairs,
            index=index,
            wait=wait,
            token=token,
            params=(("recurse", ""),),
        )

    async def kv_keys(
        self, prefix: str, *, separator: str = "", token: str = ""
    ) -> Answer[tuple[str, ...]]:
        """Return the keys below ``prefix``, those past ``separator`` folded into one."""
        params = (("keys", ""), *((("separator", separator),) if separator else ()))
        return await self._read(f"/v1/kv/{quote(prefix)}", _keys, token=token, params=params)

    async def may_read_keys(self, prefix: str, *, token: str = "") -> bool | None:
        """Learn whether the token may read what is below ``prefix``, be there anything or not.

        None where nobody says: Consul's ACLs are off, or the registry has none.
        """
        asked = [{"Resource": "key", "Access": "read", "Segment": prefix}]
        try:
            reply = await self.transport.request(
                "POST",
                "/v1/internal/acl/authorize",
                headers={"X-Consul-Token": token or self.transport.address.token},
                body=msgspec.json.encode(asked),
            )
        except Refused:
            return None
        if not reply.found:
            return None
        return all(verdict.get("Allow") for verdict in read(reply, _VERDICTS.decode))

    async def kv_put(
        self,
        key: str,
        value: bytes,
        *,
        cas: int | None = None,
        acquire: str = "",
        release: str = "",
        flags: int = 0,
        token: str = "",
    ) -> bool:
        """Store ``value``; False if the compare-and-set or the lock was lost.

        ``cas`` 0 stores only if there is no such key yet.
        """
        reply = await self.library.kv.put(
            key,
            value,
            cas=cas,
            flags=flags or None,
            acquire=acquire or None,
            release=release or None,
            token=token or None,
        )
        return affirmed(reply)

    async def kv_delete(
        self, key: str, *, cas: int | None = None, recurse: bool = False, token: str = ""
    ) -> bool:
        """Delete ``key`` (all below it with ``recurse``); False if the compare-and-set lost."""
        return affirmed(
            await self.library.kv.delete(key, recurse=recurse, cas=cas, token=token or None)
        )

    async def session_create(
        self,
        name: str,
        *,
        ttl: float,
        behavior: str = "release",
        lock_delay: float = 15.0,
        checks: Sequence[str] | None = None,
        token: str = "",
    ) -> str:
        """Open a session of ``ttl`` seconds (10 to 86400) and return its id.

        ``checks`` None binds it to the node's own health; an empty list to its TTL alone.
        """
        body: dict[str, Any] = {
            "Name": name,
            "TTL": f"{ttl:g}s",
            "Behavior": behavior,
            "LockDelay": f"{lock_delay:g}s",
        }
        if checks is not None:
            body["Checks"] = list(checks)
        # The library can neither leave the TTL to Consul's judgement nor say a delay of zero.
        reply = await self._write("PUT", "/v1/session/create", body, token=token)
        return read(reply, _SESSION.decode)["ID"]

    async def session_renew(self, session: str, *, token: str = "") -> bool:
        """Prolong the session by its TTL; False if it is gone."""
        reply = await self.library.session.renew(session, token=token or None)
        return bool(reply.found)

    async def session_destroy(self, session: str, *, token: str = "") -> None:
        """End the session; what it holds is released or deleted at once."""
        await self.library.session.destroy(session, token=token or None)

    async def txn(self, operations: Sequence[Mapping[str, Any]], *, token: str = "") -> Any:
        """Apply at most 64 operations together and return Consul's results.

        Raises:
            Refused: with 409, when one failed and none was applied.

        """
        # The library sends no datacenter with a transaction.
        return read(await self._write("PUT", "/v1/txn", operations, token=token), anything)
