"""Who is concerned by which policies: as if every one were asked, and equal answers are one."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from mesh.policies.document import Document, parse
from mesh.policies.merge import in_order
from mesh.policies.registry import KINDS
from mesh.policies.selection import Selector

NAMES = st.sampled_from(["web-1", "web-2", "service"])
LABELS = st.dictionaries(st.sampled_from(["service", "zone", "team"]), st.sampled_from("ab"))
REFS: st.SearchStrategy[dict[str, Any]] = st.one_of(
    st.just({"kind": "Mesh"}),
    NAMES.map(lambda name: {"kind": "Dataplane", "name": name}),
    LABELS.filter(bool).map(lambda labels: {"kind": "Dataplane", "labels": labels}),
)


def policies(refs: list[dict[str, Any]]) -> dict[tuple[str, str], Document]:
    """Return a policy for each of ``refs``."""
    to = [{"targetRef": {"kind": "Mesh"}, "default": {"connectionTimeout": "1s"}}]
    documents = [
        parse(
            {"type": "MeshTimeout", "name": f"p{number}", "spec": {"targetRef": ref, "to": to}},
            KINDS,
        )
        for number, ref in enumerate(refs)
    ]
    return {document.key: document for document in documents}


@given(st.lists(REFS, max_size=8), st.lists(st.tuples(NAMES, LABELS), min_size=1, max_size=4))
def test_a_selector_chooses_as_if_it_asked_every_document(
    refs: list[dict[str, Any]], proxies: list[tuple[str, dict[str, str]]]
) -> None:
    found = policies(refs)
    selector = Selector(found)
    for name, labels in proxies:
        wanted = in_order(
            one for one in found.values() if one.spec.target_ref.selects(name, labels)
        )
        assert selector.select(name, labels).documents == wanted


@given(st.lists(REFS, max_size=8), st.lists(st.tuples(NAMES, LABELS), min_size=2, max_size=6))
def test_equal_selections_are_one_object(
    refs: list[dict[str, Any]], proxies: list[tuple[str, dict[str, str]]]
) -> None:
    selector = Selector(policies(refs))
    chosen = [selector.select(name, labels) for name, labels in proxies]
    for one in chosen:
        for other in chosen:
            assert (one is other) == (one.documents == other.documents)
