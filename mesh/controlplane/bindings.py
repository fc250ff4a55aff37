"""What the zone remembers of join tokens: which key used one, and which are revoked.

A token is bound to the first key that enrols with it, at ``mesh/join-tokens/<token id>``; a
reusable token is bound once for every key, one level below.  The write is a compare-and-set on
an absent key, so of two hosts that race with one token exactly one wins, whichever instances of
the zone they ask.  Later only a request of that same key is accepted: that is how a host which
was off for a month proves itself again, though the token has long expired.

A revocation stands at the token's own key and ends all of it.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final
from urllib.parse import quote

import msgspec

from mesh.clients.consul import ConsulClient, KeyValue

PREFIX: Final = "mesh/join-tokens/"
"""Where records stand in the KV."""
REATTEST_FOR: Final = timedelta(days=90)
"""How long after its last certificate a host may prove itself again, by default."""
_TOUCH_AFTER: Final = timedelta(days=1)


class Record(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """One record: a binding, a revocation, or a binding that was revoked.

    ``spki`` is the hex SHA-256 of the bound key; ``last_issued_at`` is when its host last got a
    certificate; ``expires_at`` is when the token itself ends.
    """

    spki: str = ""
    service: str = ""
    bound_at: datetime | None = None
    last_issued_at: datetime | None = None
    expires_at: datetime | None = None
    revoked_at: datetime | None = None

    def reattests_until(self, reattest_for: timedelta) -> datetime | None:
        """Return until when the bound key is accepted."""
        last = self.last_issued_at or self.bound_at
        return last + reattest_for if last is not None else None

    def is_spent(self, now: datetime, reattest_for: timedelta) -> bool:
        """Tell whether this record can be forgotten without letting anybody in.

        A token that is still valid by itself would be as good as new without its record.
        """
        ends = [self.reattests_until(reattest_for)]
        if self.revoked_at is not None:
            # Revoked by id, the token's own end may be unknown; none lives longer than this.
            ends.append(self.revoked_at + reattest_for)
        if self.expires_at is not None:
            ends.append(self.expires_at)
        return all(end is not None and end < now for end in ends if end is not None)


@dataclass(frozen=True, slots=True)
class StoredRecord:
    """A record with its key and the KV's modify index."""

    key: str
    index: int
    record: Record


class UnreadableRecordError(Exception):
    """A record in the KV is not one of ours; nobody is let in on it."""


def token_key(token_id: str) -> str:
    """Return the KV key of a token."""
    return PREFIX + quote(token_id, safe="")


def binding_key(token_id: str, spki: str, *, reusable: bool) -> str:
    """Return the KV key of a binding: the token's own, or one for each key of a reusable token."""
    return f"{token_key(token_id)}/{spki}" if reusable else token_key(token_id)


def parse(entry: KeyValue) -> StoredRecord:
    """Read a record.

    Raises:
        UnreadableRecordError: it is not one.

    """
    try:
        record = msgspec.json.decode(entry.data, type=Record)
    except ValueError as error:
        raise UnreadableRecordError(
            f"Consul's key {entry.key} does not hold a join token's record ({error}); "
            "delete the key to let the token be used anew"
        ) from error
    return StoredRecord(entry.key, entry.modify_index, record)


class Bindings:
    """The records in Consul's KV."""

    def __init__(self, consul: ConsulClient) -> None:
        """Keep them in the KV of ``consul``."""
        self._consul = consul

    async def read(self, key: str) -> StoredRecord | None:
        """Return the record at ``key``.

        Raises:
            UnreadableRecordError: there is one that cannot be read.
            ConsulError: Consul did not answer.

        """
        entry = (await self._consul.kv_get(key)).value
        return parse(entry) if entry is not None else None

    async def write(self, key: str, record: Record, index: int) -> bool:
        """Write ``record`` if ``key`` is still at ``index`` (0: absent); False if it is not.

        Raises:
            ConsulError: Consul did not answer.

        """
        return await self._consul.kv_put(key, msgspec.json.encode(record), cas=index)

    async def all(self) -> list[StoredRecord]:
        """Return every readable record.

        Raises:
            ConsulError: Consul did not answer.

        """
        found = []
        for entry in (await self._consul.kv_list(PREFIX)).value:
            try:
                found.append(parse(entry))
            except UnreadableRecordError:
                continue  # it lets nobody in, and whoever asks with its token hears of it
        return found

    async def revoke(self, token_id: str, now: datetime) -> None:
        """Let nobody enrol or prove himself again with a token, used already or not.

        Raises:
            UnreadableRecordError: the token has a record that cannot be read.
            ConsulError: Consul did not answer.

        """
        key = token_key(token_id)
        while True:
            stored = await self.read(key)
            record = stored.record if stored else Record()
            if record.revoked_at is not None:
                return
            revoked = msgspec.structs.replace(record, revoked_at=now)
            if await self.write(key, revoked, stored.index if stored else 0):
                return

    async def touch(self, stored: StoredRecord, now: datetime) -> None:
        """Note that the bound host got a certificate; at most one write a day.

        Raises:
            ConsulError: Consul did not answer.

        """
        last = stored.record.last_issued_at
        if last is not None and now - last < _TOUCH_AFTER:
            return
        noted = msgspec.structs.replace(stored.record, last_issued_at=now)
        # Losing means that somebody else noted it, or revoked: both stand.
        await self.write(stored.key, noted, stored.index)
