"""What a zone keeps of its peers, at ``mesh/peers/<zone>`` of its own KV store.  Pure.

A peer is *invited* as long as its token was not used, and a *peer* from then on: the key that the
invitation stands at becomes the peer's by compare-and-set, so that a token is used once.  What is
known of a peer is a :class:`~mesh.sources.zones.record.ZoneRecord`, as of the zones of the own
federation.  What a peer is told stands at ``mesh/exports/<zone>``.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final

import msgspec

from mesh.clients.consul import KeyValue
from mesh.model.violations import Report
from mesh.model.zones import Zone
from mesh.sources.zones import record
from mesh.sources.zones.record import Raw, ZoneRecord

KIND: Final = "peer"
PREFIX: Final = "mesh/peers/"
"""Where peers stand in the KV; the rest of the key is the zone."""
EXPORTS: Final = "mesh/exports/"
"""Where the documents for peers stand; the rest of the key is the zone."""
_PAIR: Final = "pair"


@dataclass(frozen=True, slots=True)
class Invitation:
    """A token that was made and not used yet.  The token itself is nowhere."""

    token_id: str
    expires_at: datetime

    def encode(self) -> bytes:
        """Write what :func:`parse` reads."""
        said = {"token_id": self.token_id, "expires_at": self.expires_at.isoformat()}
        return json.dumps({"invited": said}).encode()


@dataclass(frozen=True, slots=True)
class Peer:
    """A peer since ``since``, and what is known of it."""

    record: ZoneRecord
    since: datetime

    @property
    def zone(self) -> Zone:
        """The peer, for the world."""
        return replace(self.record.zone, peer=True)

    def encode(self) -> bytes:
        """Write what :func:`parse` reads."""
        said = {"record": json.loads(self.record.encode()), "since": self.since.isoformat()}
        return json.dumps({"peer": said}).encode()


def parse(data: bytes, subject: str) -> Invitation | Peer:
    """Read a record; ``subject`` is how errors name it.

    Raises:
        InvalidInputError: with every violation.

    """
    report = Report(subject)
    try:
        held = msgspec.json.decode(data, type=_Held)
    except ValueError as error:
        raise report.refuse("", f"is not a record of a peer: {error}") from error
    if held.peer is not None and held.invited is None:
        found = record.parse(json.dumps(held.peer.record).encode(), subject)
        return Peer(found, held.peer.since)
    if held.invited is None or held.peer is not None:
        raise report.refuse("", "is neither an invitation nor a peer")
    return Invitation(held.invited.token_id, held.invited.expires_at)


def raw_peers(pairs: Iterable[KeyValue]) -> dict[str, Raw]:
    """Return what stands at each key, still unread, by zone."""
    return {pair.key.removeprefix(PREFIX): {_PAIR: pair} for pair in pairs if pair.key != PREFIX}


def parse_zone(raw: Raw) -> Zone | None:
    """Read one record for where calls can go; None for one that is only invited.

    Raises:
        InvalidInputError: with every violation.

    """
    pair: KeyValue = raw[_PAIR]
    subject = f"key {pair.key}"
    found = parse(pair.data, subject)
    if isinstance(found, Invitation):
        return None
    if found.zone.name != pair.key.removeprefix(PREFIX):
        report = Report(subject)
        name = found.zone.name
        report.add("peer.record", f"is of {name!r}, which is not the zone that the key names")
        report.close()
    return found.zone


class _Invited(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    token_id: str
    expires_at: datetime


class _Peer(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    record: Any
    since: datetime


class _Held(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    invited: _Invited | None = None
    peer: _Peer | None = None
