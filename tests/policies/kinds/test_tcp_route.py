"""MeshTCPRoute: who gets the connections."""

from __future__ import annotations

import pytest

from mesh.model.destinations import Target
from mesh.model.traffic import Share
from mesh.policies.kinds import http_route
from mesh.policies.kinds.tcp_route import KIND, shares
from tests.policies.kinds import documents, reading

_TO_DB = "{to: [{targetRef: {kind: MeshService, name: db}, rules: [{default: %s}]}]}"


def _shares(default: str) -> tuple[Share, ...] | None:
    return shares(reading.document(KIND, _TO_DB % default), "db")


def test_connections_are_shared_by_weight() -> None:
    found = _shares(
        "{backendRefs: [{kind: MeshService, name: db, weight: 3},"
        " {kind: MeshService, name: db, subset: v2}]}"
    )

    assert found == (Share(Target("db"), 7500), Share(Target("db", "v2"), 2500))


def test_without_backends_it_is_the_service_itself() -> None:
    assert _shares("{}") == (Share(Target("db")),)


def test_without_anybody_to_ask_nobody_is() -> None:
    assert _shares("{backendRefs: []}") == ()


def test_a_document_says_nothing_of_other_services() -> None:
    assert shares(reading.document(KIND, _TO_DB % "{}"), "api") is None


def test_everything_wrong_is_told_at_once() -> None:
    found = reading.violations(
        KIND,
        """
        to:
          - targetRef: {kind: MeshHTTPRoute, name: x}
            rules: [{default: {}}, {default: {}}]
          - targetRef: {kind: MeshService, name: db}
            rules: [{matches: [], default: {backendRefs: [{name: db}]}}]
        """,
    )

    assert set(found) == {
        "spec.to[0].targetRef.kind",
        "spec.to[0].rules",
        "spec.to[1].rules[0].matches",
        "spec.to[1].rules[0].default.backendRefs[0].kind",
    }


def test_two_rules_for_one_service_are_refused() -> None:
    part = {"targetRef": documents.API, "rules": [{"default": {}}]}

    assert documents.refused(KIND, {"to": [part, part]}) == {
        "spec.to[1].targetRef": "the same service as to[0]: only one of them can hold"
    }


def test_a_document_of_another_kind_is_a_mistake_of_the_caller() -> None:
    part = {"targetRef": documents.API, "rules": [{"default": {}}]}
    other = documents.read(http_route.KIND, {"to": [part]})

    with pytest.raises(TypeError, match="is no MeshTCPRoute"):
        shares(other, "api")
