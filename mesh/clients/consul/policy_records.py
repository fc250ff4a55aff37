"""Policy documents in the KV store: how they are kept, and what a change of them is.  Pure.

``mesh/policies/<mesh>/<kind>/<name>`` holds an envelope: the document, how often one of that name
was applied, when, and by which token.  The last :data:`KEPT` envelopes stand once more below
``mesh/policy-history/``, each at its version; they outlive the document, so that what was deleted
by mistake can be read and applied again, and a version never means two different documents.

A change is planned from what was read (:func:`puts`, :func:`deletions`) and knows the index that
its key had then; ``policies`` makes it.  What a document means is not known here.

Policies of the whole mesh stand in the primary datacenter.  The other zones each keep a copy of
them below ``mesh/mirror/policies/``, which stands under what they have of their own.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Annotated, Any, Final

import msgspec

from mesh.clients.consul.answers import KeyValue
from mesh.model.violations import InvalidInputError, Violation

PREFIX: Final = "mesh/policies/"
"""Where documents stand."""
MIRROR: Final = "mesh/mirror/policies/"
"""Where copies of the primary's documents stand."""
HISTORY: Final = "mesh/policy-history/"
"""Where their versions stand."""
KEPT: Final = 10
"""How many versions of a document are kept."""

_PARTS: Final = 3


@dataclass(frozen=True, slots=True, order=True)
class Key:
    """What names a document."""

    mesh: str
    kind: str
    name: str

    @property
    def path(self) -> str:
        """Where the document stands."""
        return PREFIX + "/".join(filter(None, (self.mesh, self.kind, self.name)))

    @property
    def label(self) -> str:
        """How people name it."""
        return f"{self.kind} {self.name}"

    def history(self, version: int) -> str:
        """Return where a version of it stands."""
        return f"{HISTORY}{self.mesh}/{self.kind}/{self.name}/{version}"


@dataclass(frozen=True, slots=True)
class Stored:
    """A document as it was applied; ``applied_by`` is a token's accessor, if it had one."""

    key: Key
    version: int
    document: Mapping[str, Any]
    applied_at: datetime
    applied_by: str = ""
    index: int = 0
    """The KV's modify index."""


@dataclass(frozen=True, slots=True)
class Holdings:
    """Everything that stands for one mesh.

    ``indexes`` has each key that there is; ``unreadable`` says why some hold no document.
    ``versions`` are the numbers kept for each key, the oldest first, deleted documents included.
    ``mirrored`` are the primary's documents, as far as none of the zone's own stands over them.
    """

    documents: Mapping[Key, Stored]
    unreadable: Mapping[Key, InvalidInputError]
    indexes: Mapping[Key, int]
    versions: Mapping[Key, tuple[int, ...]]
    mirrored: Mapping[Key, Stored] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Change:
    """What is to become of one key, seen from what stood there.

    ``document`` None deletes it.  ``version`` is that of what stands afterwards.
    """

    key: Key
    before: Stored | None
    document: Mapping[str, Any] | None
    version: int
    index: int
    stale: tuple[int, ...] = ()
    """Versions that need not be kept any longer."""

    @property
    def changes(self) -> bool:
        """Whether there is anything to do."""
        if self.document is None:
            return self.index > 0
        return self.before is None or _text(self.before.document) != _text(self.document)


class Envelope(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """What stands at a key."""

    version: Annotated[int, msgspec.Meta(ge=1)]
    document: dict[str, Any]
    applied_at: datetime
    applied_by: str = ""


def key_of(document: Mapping[str, Any]) -> Key:
    """Return the key of a document that names its mesh, type and name."""
    return Key(str(document["mesh"]), str(document["type"]), str(document["name"]))


def key_at(path: str) -> Key:
    """Return the key that stands at ``path`` in the KV; parts that it lacks are empty."""
    mesh, kind, name = (*path.removeprefix(PREFIX).split("/", _PARTS - 1), "", "")[:_PARTS]
    return Key(mesh, kind, name)


def documents(pairs: Iterable[KeyValue]) -> Iterator[tuple[Key, KeyValue]]:
    """Yield what stands at each key, but for the folders that Consul's UI makes."""
    for pair in pairs:
        if not pair.key.endswith("/"):
            yield key_at(pair.key), pair


def of_mirror(pairs: Iterable[KeyValue]) -> tuple[KeyValue, ...]:
    """Return copies of the primary's documents as what they are copies of."""
    return tuple(
        msgspec.structs.replace(pair, key=PREFIX + pair.key.removeprefix(MIRROR)) for pair in pairs
    )


def parse(pair: KeyValue) -> Stored:
    """Read what stands at a key, and see that the document is the one that the key names.

    Raises:
        InvalidInputError: it is no envelope, or holds another document.

    """
    key = key_at(pair.key)
    if not (key.mesh and key.kind and key.name) or "/" in key.name:
        wrong = Violation("", f"is not {PREFIX}<mesh>/<kind>/<name>: delete it")
        raise InvalidInputError(f"key {pair.key}", (wrong,))
    return replace(read(key, pair), index=pair.modify_index)


def puts(holdings: Holdings, wanted: Iterable[Mapping[str, Any]]) -> tuple[Change, ...]:
    """Plan that each of ``wanted`` stands as it is given."""
    return tuple(_put(holdings, key_of(document), document) for document in wanted)


def deletions(holdings: Holdings, keys: Iterable[Key]) -> tuple[Change, ...]:
    """Plan that nothing stands at ``keys``."""
    return tuple(
        Change(key, holdings.documents.get(key), None, 0, holdings.indexes.get(key, 0))
        for key in keys
    )


def read(key: Key, pair: KeyValue) -> Stored:
    """Read an envelope that must hold the document that ``key`` names.

    Raises:
        InvalidInputError: it does not.

    """
    subject = f"key {pair.key}"
    try:
        envelope = msgspec.json.decode(pair.data, type=Envelope)
    except (ValueError, RecursionError) as error:
        wrong = Violation("", f"holds no policy document: {error}")
        raise InvalidInputError(subject, (wrong,)) from error
    violations = tuple(
        Violation(f"document.{field}", f"is {envelope.document.get(field)!r}, the key says {said}")
        for field, said in (("mesh", key.mesh), ("type", key.kind), ("name", key.name))
        if envelope.document.get(field) != said
    )
    if violations:
        raise InvalidInputError(subject, violations)
    return Stored(
        key, envelope.version, envelope.document, envelope.applied_at, envelope.applied_by
    )


def _put(holdings: Holdings, key: Key, document: Mapping[str, Any]) -> Change:
    before = holdings.documents.get(key)
    kept = holdings.versions.get(key, ())
    change = Change(key, before, document, 0, holdings.indexes.get(key, 0))
    if not change.changes and before is not None:
        return replace(change, version=before.version)
    version = max((before.version if before else 0, *kept)) + 1
    stale = tuple(each for each in kept if each <= version - KEPT)
    return replace(change, version=version, stale=stale)


def _text(document: Mapping[str, Any]) -> str:
    # As text, for 1, 1.0 and true are equal to Python and differ in JSON.
    return json.dumps(document, sort_keys=True)
