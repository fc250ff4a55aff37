"""Policy documents as they were applied, from the KV store.  Pure.

``mesh/policies/default/<kind>/<name>`` is an envelope around a document; the document must be
the one that the key names, and valid for its kind.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Final

from mesh.clients.consul import KeyValue, policy_records
from mesh.policies.document import DEFAULT_MESH, Document, parse
from mesh.policies.kind import Kind
from mesh.sources.consul.problems import Raw

KIND: Final = "policy"
PREFIX: Final = f"{policy_records.PREFIX}{DEFAULT_MESH}/"

_PAIR: Final = "pair"


def raw_documents(pairs: Iterable[KeyValue]) -> dict[str, Raw]:
    """Return what stands at each key, still unread, by kind and name."""
    return {key.label.strip(): {_PAIR: pair} for key, pair in policy_records.documents(pairs)}


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


def by_key(documents: Iterable[Document]) -> dict[tuple[str, str], Document]:
    """Return ``documents`` by kind and name."""
    return {document.key: document for document in documents}


def registered() -> Mapping[str, Kind]:
    """Return every kind; their models are built when a document is first met, not before."""
    from mesh.policies.registry import KINDS  # noqa: PLC0415 - only who meets a policy pays for it

    return KINDS
