"""Policy documents as they were applied, from the KV store.  Pure.

``mesh/policies/default/<kind>/<name>`` is an envelope around a document; the document must be
the one that the key names, and valid for its kind.  One that cannot be read and guards its proxies
(see ``mesh.policies.unread``) closes them.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from typing import Final

from mesh.clients.consul import KeyValue, policy_records
from mesh.policies.document import DEFAULT_MESH, Document, parse
from mesh.policies.kind import Closing, Kind
from mesh.policies.unread import stand_in
from mesh.sources.consul.problems import LEFT_OUT, Raw

KIND: Final = "policy"
PREFIX: Final = f"{policy_records.PREFIX}{DEFAULT_MESH}/"
MIRROR: Final = f"{policy_records.MIRROR}{DEFAULT_MESH}/"

_PAIR: Final = "pair"


def raw_documents(pairs: Iterable[KeyValue], mirrored: Iterable[KeyValue] = ()) -> dict[str, Raw]:
    """Return what stands at each key, still unread, by kind and name.

    ``mirrored`` are copies of the primary's, which count where the zone has none of its own.
    """
    found = (*policy_records.of_mirror(mirrored), *pairs)
    return {key.label.strip(): {_PAIR: pair} for key, pair in policy_records.documents(found)}


def reader(kinds: Mapping[str, Kind] | None = None) -> Callable[[Raw], Document]:
    """Return what reads a document of one of ``kinds``; without, of every kind there is."""

    def read(raw: Raw) -> Document:
        return parse_document(raw, registered() if kinds is None else kinds)

    return read


def parse_document(raw: Raw, kinds: Mapping[str, Kind]) -> Document:
    """Read one document.

    Raises:
        InvalidInputError: with every violation.

    """
    stored = policy_records.parse(raw[_PAIR])
    return parse(stored.document, kinds, version=stored.version)


def closed(raw: Raw, kinds: Mapping[str, Kind] | None = None) -> Document | None:
    """Return what stands in for a document that cannot be read, if it may guard something."""
    pair = raw[_PAIR]
    key = policy_records.key_at(pair.key)
    if not key.name or "/" in key.name or _closing(key, kinds) is None:
        return None
    return stand_in(key.kind, key.name, key.mesh, _document(pair))


def closed_words(raw: Raw, kinds: Mapping[str, Kind] | None = None) -> str:
    """Say what holds instead of a document that cannot be read."""
    closing = _closing(policy_records.key_at(raw[_PAIR].key), kinds)
    return LEFT_OUT if closing is None or closed(raw, kinds) is None else closing.words


def by_key(documents: Iterable[Document]) -> dict[tuple[str, str], Document]:
    """Return ``documents`` by kind and name."""
    return {document.key: document for document in documents}


def _closing(key: policy_records.Key, kinds: Mapping[str, Kind] | None) -> Closing | None:
    kind = (registered() if kinds is None else kinds).get(key.kind)
    return None if kind is None else kind.closing


def _document(pair: KeyValue) -> object:
    """Return as much of a document as can be told, by whatever release it was written."""
    try:
        held = json.loads(pair.data)
    except (ValueError, RecursionError):
        return None
    return held.get("document") if isinstance(held, Mapping) else None


def registered() -> Mapping[str, Kind]:
    """Return every kind; their models are built when a document is first met, not before."""
    from mesh.policies.registry import KINDS  # noqa: PLC0415 - only who meets a policy pays for it

    return KINDS
