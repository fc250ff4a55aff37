"""L7 permissions from options, and among others."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mesh.cli.permissions import (
    EVERYTHING,
    Options,
    describe,
    header_text,
    with_permission,
)
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
from mesh.model.violations import InvalidInputError

ALLOW, DENY = Action.ALLOW, Action.DENY
PAIR = Intention("web", "api", ALLOW)


def at(path: str, action: Action = ALLOW) -> Permission:
    return Permission(action, PathMatch(PathMatchKind.EXACT, path))


@pytest.mark.parametrize(
    ("text", "kind", "value"),
    [
        ("x-role", HeaderMatchKind.PRESENT, ""),
        ("x-role=admin", HeaderMatchKind.EXACT, "admin"),
        ("x-role^=adm", HeaderMatchKind.PREFIX, "adm"),
        ("x-role$=min", HeaderMatchKind.SUFFIX, "min"),
        ("x-role*=dmi", HeaderMatchKind.CONTAINS, "dmi"),
        ("x-role~=a.*=n", HeaderMatchKind.REGEX, "a.*=n"),
    ],
)
@pytest.mark.parametrize("invert", [False, True])
def test_headers_match_by_sign(
    text: str, kind: HeaderMatchKind, value: str, *, invert: bool
) -> None:
    typed = f"!{text}" if invert else text
    permission = Options(headers=[typed]).permission(ALLOW)
    assert permission is not None
    assert permission.headers == (HeaderMatch("x-role", kind, value, invert=invert),)
    assert header_text(permission.headers[0]) == typed


names = st.from_regex(r"[a-z][a-z0-9-]{0,10}", fullmatch=True)
values = st.text(min_size=1, max_size=8)
headers = st.one_of(
    st.builds(HeaderMatch, names, st.just(HeaderMatchKind.PRESENT), invert=st.booleans()),
    st.builds(
        HeaderMatch,
        names,
        st.sampled_from([kind for kind in HeaderMatchKind if kind is not HeaderMatchKind.PRESENT]),
        values,
        st.booleans(),
    ),
)


@given(headers)
def test_a_header_reads_as_it_is_written(header: HeaderMatch) -> None:
    permission = Options(headers=[header_text(header)]).permission(ALLOW)
    assert permission is not None
    assert permission.headers == (header,)


def test_claims_of_one_provider_are_joined_and_providers_are_alternatives() -> None:
    texts = ["okta:team=a", r"okta:realm.role=b", "google", r"okta:example\.org.x=c=d"]
    permission = Options(jwt=texts).permission(ALLOW)
    assert permission is not None
    assert permission.jwt == (
        JwtRequirement(
            "okta",
            (
                ClaimMatch(("team",), "a"),
                ClaimMatch(("realm", "role"), "b"),
                ClaimMatch(("example.org", "x"), "c=d"),
            ),
        ),
        JwtRequirement("google"),
    )


def test_every_unreadable_option_is_named_at_once() -> None:
    options = Options(
        path_exact="/a", path_prefix="/b", headers=["=x", "ok"], jwt=["okta:team", ":a=b"]
    )
    with pytest.raises(InvalidInputError) as raised:
        options.permission(ALLOW)
    places = [violation.path for violation in raised.value.violations]
    assert places == ["--path-*", "--header", "--jwt", "--jwt"]


def test_no_option_is_no_permission() -> None:
    assert Options().permission(ALLOW) is None


def test_methods_are_capitals_and_named_once() -> None:
    permission = Options(methods=["get", "GET", "Post"]).permission(DENY)
    assert permission == Permission(DENY, methods=("GET", "POST"))


def test_the_first_permission_takes_the_place_of_the_same_action() -> None:
    assert with_permission(PAIR, PAIR, at("/a"), first=False).permissions == (at("/a"),)


def test_an_exception_keeps_the_rule_as_the_last_word() -> None:
    changed = with_permission(PAIR, PAIR, at("/a", DENY), first=False)
    assert changed.action is None
    assert changed.permissions == (at("/a", DENY), Permission(ALLOW, EVERYTHING))


def test_a_new_permission_stands_before_one_for_everything() -> None:
    known = with_permission(PAIR, PAIR, at("/a", DENY), first=False)
    changed = with_permission(known, PAIR, at("/b", DENY), first=False)
    assert changed.permissions == (
        at("/a", DENY),
        at("/b", DENY),
        Permission(ALLOW, EVERYTHING),
    )


def test_first_puts_in_front() -> None:
    known = with_permission(None, PAIR, at("/a"), first=False)
    assert with_permission(known, PAIR, at("/b"), first=True).permissions == (at("/b"), at("/a"))
    assert with_permission(known, PAIR, at("/a"), first=True).permissions == (at("/a"),)


def test_the_other_action_replaces_in_place() -> None:
    known = with_permission(None, PAIR, at("/a"), first=False)
    known = with_permission(known, PAIR, at("/b"), first=False)
    changed = with_permission(known, PAIR, at("/a", DENY), first=False)
    assert changed.permissions == (at("/a", DENY), at("/b"))


permissions = st.builds(at, st.sampled_from(["/a", "/b", "/c"]), st.sampled_from(Action))
starts = st.one_of(st.none(), st.builds(Intention, st.just("web"), st.just("api"), st.just(ALLOW)))


@given(
    start=starts,
    before=st.lists(permissions, max_size=5),
    stated=permissions,
    first=st.booleans(),
)
def test_stating_twice_is_stating_once(
    start: Intention | None, before: list[Permission], stated: Permission, *, first: bool
) -> None:
    known = start
    for each in before:
        known = with_permission(known, PAIR, each, first=False)
    once = with_permission(known, PAIR, stated, first=first)
    assert with_permission(once, PAIR, stated, first=first) == once
    conditions = [each.path for each in once.permissions]
    assert len(set(conditions)) == len(conditions)


def test_a_permission_is_described_on_one_line() -> None:
    permission = Options(
        methods=["GET", "POST"], path_prefix="/v1/", headers=["!x-a^=b"], jwt=["okta:t=x", "g"]
    ).permission(ALLOW)
    assert permission is not None
    assert describe(permission) == "allow GET,POST /v1/* !x-a^=b jwt okta:t=x or g"
    assert describe(Permission(DENY)) == "deny every request"
