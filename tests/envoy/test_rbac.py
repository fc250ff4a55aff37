"""RBAC rules: names cannot become expressions, and every matcher lands in its field."""

from __future__ import annotations

import re

import pytest

from mesh.envoy import rbac
from mesh.model.intentions import HeaderMatch, HeaderMatchKind, PathMatch, PathMatchKind


def test_a_workload_expression_is_anchored_and_escaped() -> None:
    assert rbac.workloads("a.b", ["web-1"]) == (r"^spiffe://a\.b/ns/default/dc/[^/]+/svc/web-1$")
    assert rbac.workloads("td").endswith("/svc/[^/]+$")


def test_several_services_are_alternatives() -> None:
    expression = rbac.workloads("td", ["web", "a.c"])

    assert re.fullmatch(expression, "spiffe://td/ns/default/dc/x/svc/a.c")
    assert not re.fullmatch(expression, "spiffe://td/ns/default/dc/x/svc/abc")
    assert not re.fullmatch(expression, "spiffe://td/ns/default/dc/x/svc/webx")


@pytest.mark.parametrize("kind", PathMatchKind)
def test_a_path_is_matched_without_its_query(kind: PathMatchKind) -> None:
    matcher = rbac.on_path(PathMatch(kind, "/a")).url_path.path
    found = matcher.safe_regex.regex if kind is PathMatchKind.REGEX else getattr(matcher, kind)

    assert found == "/a"


@pytest.mark.parametrize("kind", [kind for kind in HeaderMatchKind if kind.value != "present"])
def test_a_header_keeps_its_conditions(kind: HeaderMatchKind) -> None:
    header = rbac.with_header(
        HeaderMatch("x-role", kind, "ad", invert=True, ignore_case=kind is not kind.REGEX)
    ).header
    matcher = header.string_match
    found = matcher.safe_regex.regex if kind is kind.REGEX else getattr(matcher, kind)

    assert (header.name, header.invert_match, found) == ("x-role", True, "ad")
    assert matcher.ignore_case is (kind is not kind.REGEX)


def test_a_header_may_have_to_be_there() -> None:
    header = rbac.with_header(HeaderMatch("x-role", HeaderMatchKind.PRESENT)).header

    assert header.present_match
    assert not header.HasField("string_match")


def test_the_default_picks_the_action() -> None:
    allowing, denying = (rbac.rules({}, default_allow=default) for default in (False, True))

    assert allowing.action == allowing.ALLOW
    assert denying.action == denying.DENY
    # An empty ALLOW is the zero value, and must still be sent: it denies everybody.
    assert rbac.network_filter("x", allowing).HasField("rules")


def test_nobody_and_nothing_are_expressible() -> None:
    assert rbac.either_principal([]).not_id.any
    assert rbac.either_permission([]).not_rule.any
    assert rbac.every_permission([]).any
