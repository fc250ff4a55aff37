"""The policies that concern one proxy, and what they say of one destination.

Many proxies are concerned by the same policies.  A :class:`Selector` tells equal selections by
one object, so that what is derived from them is derived once; and it looks only at policies that
one of a proxy's labels, or its name, could be meant by.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

from mesh.policies import merge
from mesh.policies.document import Document

NO_DOCUMENTS: tuple[Document, ...] = ()


@dataclass(frozen=True, slots=True)
class Selection:
    """The ``documents`` that select a proxy, from the general to the specific."""

    documents: tuple[Document, ...] = ()
    _hash: int = field(init=False, repr=False, compare=False)
    _by_kind: dict[str, tuple[Document, ...]] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )

    def __post_init__(self) -> None:
        """Hash once: much is remembered by the selection that it holds for."""
        object.__setattr__(self, "_hash", hash(self.documents))

    def __hash__(self) -> int:
        """Hash the documents."""
        return self._hash

    def of(self, kind: str) -> tuple[Document, ...]:
        """Return those of ``kind``."""
        if not self.documents:
            return NO_DOCUMENTS
        found = self._by_kind.get(kind)
        if found is None:
            found = tuple(document for document in self.documents if document.kind == kind)
            self._by_kind[kind] = found
        return found

    def about(self, services: Iterable[str], routes: Iterable[str] = ()) -> tuple[Document, ...]:
        """Return those that say something of calls to ``services``, or by the policy ``routes``."""
        if not self.documents:
            return NO_DOCUMENTS
        named, by_route = frozenset(services), frozenset(routes)
        return tuple(one for one in self.documents if _speaks_of(one, named, by_route))


NOTHING_SELECTED: Final = Selection()


class Selector:
    """Says which of some policies concern a proxy; equal answers are one object."""

    def __init__(self, policies: Mapping[tuple[str, str], Document]) -> None:
        """Choose among ``policies``."""
        self._ordered = merge.in_order(policies.values())
        self._everywhere: list[int] = []
        self._by_hint: defaultdict[Hashable, list[int]] = defaultdict(list)
        for place, document in enumerate(self._ordered):
            ref = document.spec.target_ref
            # Whom a document selects has its name, or all of its labels, thus the first as well.
            hint = ref.name or next(iter(ref.labels.items()), None)
            (self._everywhere if hint is None else self._by_hint[hint]).append(place)
        self._made: dict[tuple[int, ...], Selection] = {(): NOTHING_SELECTED}

    def select(self, name: str, labels: Mapping[str, str]) -> Selection:
        """Return the policies that concern the proxy ``name`` with ``labels``."""
        own = [
            place
            for hint in (name, *labels.items())
            for place in self._by_hint.get(hint, ())
            if self._ordered[place].spec.target_ref.selects(name, labels)
        ]
        # What concerns everybody is the most general, and comes first anyway.
        chosen = (*self._everywhere, *sorted(own))
        found = self._made.get(chosen)
        if found is None:
            found = Selection(tuple(self._ordered[place] for place in chosen))
            self._made[chosen] = found
        return found


def _speaks_of(document: Document, services: frozenset[str], routes: frozenset[str]) -> bool:
    for to in getattr(document.spec, "to", ()):
        ref = to.target_ref
        if ref.kind == "Mesh" or ref.name in (routes if ref.kind == "MeshHTTPRoute" else services):
            return True
    return False
