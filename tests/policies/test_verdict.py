"""Precedence, permissions, tokens and the default, one rule at a time."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mesh.model.intentions import (
    Action,
    ClaimMatch,
    HeaderMatch,
    HeaderMatchKind,
    Intention,
    JwtRequirement,
    PathMatch,
    PathMatchKind,
    Permission,
)
from mesh.model.services import Protocol
from mesh.policies.intentions import Call, applicable, can_connect, judge
from mesh.policies.intentions.matching import header_matches
from tests.policies.strategies import grouped, l7_intentions, requests

ALLOW, DENY = Action.ALLOW, Action.DENY
READS = Permission(ALLOW, PathMatch(PathMatchKind.PREFIX, "/v1/"), ("GET",))
CALL = Call("web", "api", Protocol.HTTP, "GET", "/v1/users")


def test_the_strongest_intention_decides_and_the_others_are_named() -> None:
    exact = Intention("web", "api", DENY)
    to_api = Intention("*", "api", ALLOW)
    from_web = Intention("web", "*", ALLOW)
    anything = Intention("*", "*", DENY)
    held = grouped((anything, from_web, to_api, exact))

    verdict = judge(held, CALL, default_allow=False)

    assert not verdict.allowed
    assert verdict.decided_by == exact
    assert verdict.overridden == (to_api, from_web, anything)
    assert verdict.reason == "the intention web → api denies it"


def test_only_the_strongest_of_one_source_is_applicable() -> None:
    exact = Intention("web", "api", DENY)
    to_api = Intention("*", "api", ALLOW)
    from_db = Intention("db", "*", ALLOW)
    held = grouped(
        (Intention("*", "*", DENY), from_db, Intention("web", "*", ALLOW), to_api, exact)
    )

    assert applicable(held, "api") == (exact, to_api, from_db)


@pytest.mark.parametrize("default_allow", [False, True])
def test_the_default_decides_where_nothing_covers(default_allow: bool) -> None:  # noqa: FBT001 - parametrised
    verdict = judge({}, CALL, default_allow=default_allow)

    assert verdict.allowed is default_allow
    assert verdict.decided_by is None
    assert "no intention covers web → api" in verdict.reason


@pytest.mark.parametrize("default_allow", [False, True])
def test_without_a_matching_permission_the_default_decides_not_the_wildcard(
    default_allow: bool,  # noqa: FBT001 - parametrised
) -> None:
    opposite = DENY if default_allow else ALLOW
    held = grouped((Intention("web", "api", permissions=(READS,)), Intention("*", "api", opposite)))

    verdict = judge(held, replace(CALL, method="PUT"), default_allow=default_allow)

    assert verdict.allowed is default_allow
    assert verdict.permission_index is None
    assert "no permission" in verdict.reason


def test_the_first_matching_permission_decides() -> None:
    secret = Permission(DENY, PathMatch(PathMatchKind.EXACT, "/v1/secret"))
    held = grouped((Intention("web", "api", permissions=(secret, READS)),))

    refused = judge(held, replace(CALL, path="/v1/secret?x=1"), default_allow=False)
    granted = judge(held, CALL, default_allow=False)

    assert (refused.allowed, refused.permission_index) == (False, 0)
    assert (granted.allowed, granted.permission_index) == (True, 1)
    assert granted.reason == "permission 2 of the intention web → api allows it"


def test_permissions_on_a_tcp_destination_deny_altogether() -> None:
    held = grouped((Intention("web", "api", permissions=(READS,)),))

    verdict = judge(held, Call("web", "api", Protocol.TCP), default_allow=True)

    assert not verdict.allowed
    assert not verdict.conditional
    assert "api speaks tcp: the whole intention denies" in verdict.reason
    assert not can_connect(held, "web", "api", Protocol.TCP, default_allow=True)


def test_without_a_request_the_verdict_depends_on_it() -> None:
    held = grouped((Intention("web", "api", permissions=(READS,)),))

    verdict = judge(held, Call("web", "api", Protocol.HTTP), default_allow=False)

    assert verdict.conditional
    assert not verdict.allowed
    assert can_connect(held, "web", "api", Protocol.HTTP, default_allow=False)


def test_permissions_that_only_deny_do_not_depend_on_the_request_by_default_deny() -> None:
    only = Permission(DENY, PathMatch(PathMatchKind.PREFIX, "/admin"))
    held = grouped((Intention("web", "api", permissions=(only,)),))
    call = Call("web", "api", Protocol.HTTP2)

    assert not judge(held, call, default_allow=False).conditional
    assert not can_connect(held, "web", "api", Protocol.HTTP2, default_allow=False)
    assert judge(held, call, default_allow=True).conditional
    assert can_connect(held, "web", "api", Protocol.HTTP2, default_allow=True)


@pytest.mark.parametrize(
    ("claims", "allowed"),
    [
        ({}, False),
        ({"corp": {"role": "admin"}}, False),
        ({"okta": {}}, False),
        ({"okta": {"perms": {"role": "user"}}}, False),
        ({"okta": {"perms": {"role": "admin"}}}, True),
        ({"okta": {"perms": {"role": ["user", "admin"]}}}, True),
        ({"okta": {"perms": "admin"}}, False),
    ],
)
def test_a_required_token_is_asked_for_on_http(
    claims: dict[str, dict[str, object]],
    allowed: bool,  # noqa: FBT001 - parametrised
) -> None:
    token = JwtRequirement("okta", (ClaimMatch(("perms", "role"), "admin"),))
    held = grouped((Intention("web", "api", ALLOW, jwt=(token,)),))

    for default_allow in (False, True):
        verdict = judge(held, replace(CALL, claims=claims), default_allow=default_allow)
        assert verdict.allowed is allowed


def test_a_required_token_is_not_asked_for_on_tcp() -> None:
    held = grouped((Intention("web", "api", ALLOW, jwt=(JwtRequirement("okta"),)),))

    assert judge(held, Call("web", "api", Protocol.TCP), default_allow=False).allowed


def _header(kind: HeaderMatchKind, value: str = "", **how: bool) -> HeaderMatch:
    return HeaderMatch("X-Role", kind, value, **how)


@pytest.mark.parametrize(
    ("match", "value", "expected"),
    [
        (_header(HeaderMatchKind.PRESENT), "", True),
        (_header(HeaderMatchKind.PRESENT), None, False),
        (_header(HeaderMatchKind.PRESENT, invert=True), None, True),
        (_header(HeaderMatchKind.EXACT, "admin"), "admin", True),
        (_header(HeaderMatchKind.EXACT, "admin"), "Admin", False),
        (_header(HeaderMatchKind.EXACT, "admin", ignore_case=True), "ADMIN", True),
        (_header(HeaderMatchKind.EXACT, "admin", invert=True), "user", True),
        (_header(HeaderMatchKind.EXACT, "admin", invert=True), None, False),
        (_header(HeaderMatchKind.PREFIX, "ad"), "admin", True),
        (_header(HeaderMatchKind.SUFFIX, "min"), "admin", True),
        (_header(HeaderMatchKind.CONTAINS, "dmi"), "admin", True),
        (_header(HeaderMatchKind.REGEX, "[a-z]+"), "admin", True),
        (_header(HeaderMatchKind.REGEX, "[a-z]+"), "admin1", False),
    ],
)
def test_a_header_is_compared_as_envoy_does(
    match: HeaderMatch,
    value: str | None,
    expected: bool,  # noqa: FBT001 - parametrised
) -> None:
    assert header_matches(match, {} if value is None else {"x-role": value}) is expected


@given(l7_intentions(), requests, st.booleans())
def test_what_some_request_may_do_can_connect(
    intentions: tuple[Intention, ...],
    call: Call,
    default_allow: bool,  # noqa: FBT001 - drawn
) -> None:
    held = grouped(intentions)
    verdict = judge(held, call, default_allow=default_allow)
    any_request = judge(
        held, Call(call.source, call.destination, call.protocol), default_allow=default_allow
    )

    reachable = can_connect(
        held, call.source, call.destination, call.protocol, default_allow=default_allow
    )
    assert reachable or not verdict.allowed
    assert any_request.conditional or any_request.allowed is verdict.allowed
    assert any_request.decided_by == verdict.decided_by
