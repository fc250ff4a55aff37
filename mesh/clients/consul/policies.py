"""Reading and changing policy documents in one Consul; ``policy_records`` says what they are.

Several changes are committed as one transaction on the indexes of the reading that they were
planned from: all of them happen, or none.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping, Sequence
from http import HTTPStatus
from typing import Any, Final

import msgspec

from mesh.aio.clock import Clock, SystemClock
from mesh.clients.consul.answers import KeyValue
from mesh.clients.consul.client import ConsulClient
from mesh.clients.consul.errors import Call, ConsulError, Forbidden, Refused
from mesh.clients.consul.policy_records import (
    HISTORY,
    MIRROR,
    PREFIX,
    Change,
    Envelope,
    Holdings,
    Key,
    Stored,
    documents,
    of_mirror,
    parse,
    read,
)
from mesh.model.violations import InvalidInputError

MOST: Final = 64
"""How many operations Consul takes in a transaction."""
LARGEST: Final = 512 * 1024 - MOST * 256
"""How many bytes of documents a transaction takes; the rest is for forgetting old versions."""

_DENIED: Final = "ermission denied"
_STALE: Final = "index is stale"


class Conflict(ConsulError):  # noqa: N818 - reads as the state of things in an except clause
    """Somebody else changed the same documents meanwhile; nothing was applied."""

    def __init__(self, call: Call, who: Sequence[str]) -> None:
        """``who`` says of each document by whom it was changed."""
        super().__init__(
            f"changed meanwhile: {', '.join(who)}; nothing was applied",
            call,
            "Look at it with `mesh diff`, and apply again.",
        )


class TooMuch(ConsulError):  # noqa: N818 - likewise
    """More than one transaction takes; nothing was applied."""

    def __init__(self, call: Call, what: str) -> None:
        """``what`` says how much it is, and how much it may be."""
        super().__init__(
            f"{what}; nothing was applied",
            call,
            "Apply fewer documents at a time: one command applies all of them or none.",
        )


class Policies:
    """Reads and changes the documents in one Consul."""

    def __init__(self, client: ConsulClient, clock: Clock | None = None) -> None:
        """Ask through ``client``; ``clock`` dates what is applied."""
        self.client = client
        self._clock = clock or SystemClock()

    async def read(self, mesh: str) -> Holdings:
        """Return everything that stands for ``mesh``.

        Raises:
            ConsulError: Consul did not answer, or refused.

        """
        found: dict[Key, Stored] = {}
        unreadable: dict[Key, InvalidInputError] = {}
        indexes: dict[Key, int] = {}
        for key, pair in documents((await self.client.kv_list(f"{PREFIX}{mesh}/")).value):
            indexes[key] = pair.modify_index
            try:
                found[key] = parse(pair)
            except InvalidInputError as error:
                unreadable[key] = error
        mirrored = await self._mirrored(mesh, unreadable)
        under = {key: stored for key, stored in mirrored.items() if key not in indexes}
        return Holdings(found, unreadable, indexes, await self._versions(mesh), under)

    async def history(self, key: Key) -> tuple[Stored, ...]:
        """Return the versions of a document that are kept, the oldest first.

        Raises:
            ConsulError: Consul did not answer, or refused.
            InvalidInputError: one of them is malformed.

        """
        pairs = (await self.client.kv_list(key.history(0).removesuffix("0"))).value
        return tuple(sorted((read(key, pair) for pair in pairs), key=lambda one: one.version))

    async def commit(self, changes: Iterable[Change]) -> None:
        """Make ``changes`` in one transaction; those that change nothing are left out.

        Raises:
            Conflict: something of it was changed since it was read; nothing was done.
            TooMuch: it does not fit into a transaction; nothing was done.
            ConsulError: Consul did not answer, or refused.

        """
        wanted = [change for change in changes if change.changes]
        if not wanted:
            return
        call = Call("PUT", "/v1/txn", self.client.address.url)
        envelopes = await self._envelopes(wanted)
        operations = [
            operation
            for change, envelope in zip(wanted, envelopes, strict=True)
            for operation in _operations(change, envelope)
        ]
        if len(operations) > MOST:
            raise TooMuch(
                call,
                f"{len(wanted)} documents take {len(operations)} operations, and a transaction "
                f"takes {MOST}",
            )
        size = len(msgspec.json.encode(operations))
        if size > LARGEST:
            raise TooMuch(
                call, f"the documents take {size} bytes, and a transaction takes {LARGEST}"
            )
        # What does not fit is forgotten the next time.
        operations += _forgotten(wanted)[: MOST - len(operations)]
        try:
            await self.client.txn(operations)
        except Refused as error:
            raise await self._explained(error, wanted) from error

    async def _mirrored(
        self, mesh: str, unreadable: dict[Key, InvalidInputError]
    ) -> Mapping[Key, Stored]:
        found = {}
        pairs = (await self.client.kv_list(f"{MIRROR}{mesh}/")).value
        for key, pair in documents(of_mirror(pairs)):
            try:
                found[key] = parse(pair)
            except InvalidInputError as error:
                unreadable[key] = error
        return found

    async def _versions(self, mesh: str) -> Mapping[Key, tuple[int, ...]]:
        prefix = f"{HISTORY}{mesh}/"
        found: dict[Key, list[int]] = {}
        for path in (await self.client.kv_keys(prefix)).value:
            kind, _, rest = path.removeprefix(prefix).partition("/")
            name, _, version = rest.partition("/")
            if version.isascii() and version.isdigit():
                found.setdefault(Key(mesh, kind, name), []).append(int(version))
        return {key: tuple(sorted(versions)) for key, versions in found.items()}

    async def _envelopes(self, wanted: Sequence[Change]) -> list[Envelope | None]:
        now = self._clock.now().replace(microsecond=0)
        who = await self._accessor() if any(each.document is not None for each in wanted) else ""
        return [
            None
            if change.document is None
            else Envelope(change.version, dict(change.document), now, who)
            for change in wanted
        ]

    async def _accessor(self) -> str:
        try:
            return (await self.client.acl_token_self()).accessor_id
        except ConsulError:
            # Without ACLs nobody is anybody; and who may write need not be known to write.
            return ""

    async def _explained(self, error: Refused, wanted: Sequence[Change]) -> ConsulError:
        if error.status != HTTPStatus.CONFLICT:
            return error
        if _DENIED in error.words:
            return Forbidden(error.call, error.words)
        who = []
        for change in wanted:
            pair = (await self.client.kv_get(change.key.path)).value
            if (pair.modify_index if pair else 0) != change.index:
                who.append(_by_whom(change.key, pair))
        if not who and _STALE in error.words:
            # Made and deleted again meanwhile: only the version tells.
            who = [change.key.label for change in wanted]
        return Conflict(error.call, who) if who else error


def _operations(change: Change, envelope: Envelope | None) -> list[dict[str, Any]]:
    path = change.key.path
    if envelope is None:
        return [{"KV": {"Verb": "delete-cas", "Key": path, "Index": change.index}}]
    value = base64.b64encode(msgspec.json.encode(envelope)).decode()
    history = change.key.history(change.version)
    return [
        {"KV": {"Verb": "cas", "Key": path, "Value": value, "Index": change.index}},
        # Index 0: a version is written once.
        {"KV": {"Verb": "cas", "Key": history, "Value": value, "Index": 0}},
    ]


def _forgotten(changes: Iterable[Change]) -> list[dict[str, Any]]:
    return [
        {"KV": {"Verb": "delete", "Key": change.key.history(version)}}
        for change in changes
        for version in change.stale
    ]


def _by_whom(key: Key, pair: KeyValue | None) -> str:
    if pair is None:
        return f"{key.label} was deleted"
    try:
        stored = parse(pair)
    except InvalidInputError:
        return f"{key.label} by hand"
    who = f"by token {stored.applied_by}" if stored.applied_by else "by somebody without a token"
    return f"{key.label} {who} at {stored.applied_at:%Y-%m-%d %H:%M:%S} UTC (v{stored.version})"
