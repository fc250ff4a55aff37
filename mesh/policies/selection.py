"""The policies that concern one proxy, and what they say of one destination.

Many proxies are concerned by the same policies; whoever keeps selections keeps equal ones as one
object, so that what is derived from them is derived once.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from mesh.policies import merge
from mesh.policies.document import Document

NO_DOCUMENTS: tuple[Document, ...] = ()


@dataclass(frozen=True, slots=True)
class Selection:
    """The ``documents`` that select a proxy, from the general to the specific."""

    documents: tuple[Document, ...] = ()

    def of(self, kind: str) -> tuple[Document, ...]:
        """Return those of ``kind``."""
        return tuple(document for document in self.documents if document.kind == kind)

    def about(self, services: Iterable[str], routes: Iterable[str] = ()) -> tuple[Document, ...]:
        """Return those that say something of calls to ``services``, or by the policy ``routes``."""
        if not self.documents:
            return NO_DOCUMENTS
        named, by_route = frozenset(services), frozenset(routes)
        return tuple(one for one in self.documents if _speaks_of(one, named, by_route))


NOTHING_SELECTED = Selection()


def select(
    policies: Mapping[tuple[str, str], Document], name: str, labels: Mapping[str, str]
) -> Selection:
    """Return the policies that concern the proxy ``name`` with ``labels``."""
    if not policies:
        return NOTHING_SELECTED
    found = [
        document for document in policies.values() if document.spec.target_ref.selects(name, labels)
    ]
    return Selection(merge.in_order(found)) if found else NOTHING_SELECTED


def _speaks_of(document: Document, services: frozenset[str], routes: frozenset[str]) -> bool:
    for to in getattr(document.spec, "to", ()):
        ref = to.target_ref
        if ref.kind == "Mesh" or ref.name in (routes if ref.kind == "MeshHTTPRoute" else services):
            return True
    return False
