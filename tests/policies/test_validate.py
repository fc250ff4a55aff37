"""What Consul refuses is told all at once, in Consul's words for places."""

from __future__ import annotations

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
from mesh.policies.intentions import validate, validate_all, validate_regex

_READ = Permission(Action.ALLOW, PathMatch(PathMatchKind.PREFIX, "/"))


def _places(intention: Intention) -> list[str]:
    return [violation.path for violation in validate(intention, "Sources[0]")]


def test_a_valid_intention_has_no_violations() -> None:
    full = Permission(
        Action.DENY,
        PathMatch(PathMatchKind.REGEX, "/v[0-9]+/.*"),
        ("GET", "HEAD"),
        (HeaderMatch("x-role", HeaderMatchKind.PREFIX, "ad", invert=True, ignore_case=True),),
        (JwtRequirement("okta", (ClaimMatch(("role",), "admin"),)),),
    )

    assert validate(Intention("web", "api", Action.ALLOW)) == ()
    assert validate(Intention("*", "*", Action.DENY)) == ()
    assert validate(Intention("web", "api", permissions=(full, _READ))) == ()


def test_exactly_one_of_action_and_permissions() -> None:
    assert _places(Intention("web", "api")) == ["Sources[0].Action"]
    both = Intention("web", "api", Action.ALLOW, permissions=(_READ,))
    assert _places(both) == ["Sources[0].Action"]


def test_a_wildcard_destination_has_no_permissions() -> None:
    assert _places(Intention("web", "*", permissions=(_READ,))) == ["Sources[0].Permissions"]


def test_every_violation_is_told() -> None:
    bad = Permission(
        Action.ALLOW,
        PathMatch(PathMatchKind.EXACT, "no-slash"),
        ("get", "PUT", "PUT"),
        (
            HeaderMatch("", HeaderMatchKind.EXACT, "a"),
            HeaderMatch("x", HeaderMatchKind.PRESENT, "a", ignore_case=True),
            HeaderMatch("x", HeaderMatchKind.SUFFIX, ""),
            HeaderMatch("x", HeaderMatchKind.REGEX, "(?=a)"),
        ),
        (JwtRequirement("", (ClaimMatch(("", "a"), "b"),)),),
    )
    pattern = Permission(Action.ALLOW, PathMatch(PathMatchKind.REGEX, "a++"))

    assert _places(
        Intention("web", "api", permissions=(bad, pattern, Permission(Action.DENY)))
    ) == [
        "Sources[0].Permissions[0].HTTP.PathExact",
        "Sources[0].Permissions[0].HTTP.Methods[0]",
        "Sources[0].Permissions[0].HTTP.Methods[2]",
        "Sources[0].Permissions[0].HTTP.Header[0].Name",
        "Sources[0].Permissions[0].HTTP.Header[1].Present",
        "Sources[0].Permissions[0].HTTP.Header[1].IgnoreCase",
        "Sources[0].Permissions[0].HTTP.Header[2].Suffix",
        "Sources[0].Permissions[0].HTTP.Header[3].Regex",
        "Sources[0].Permissions[0].JWT.Providers[0].Name",
        "Sources[0].Permissions[0].JWT.Providers[0].VerifyClaims[0].Path",
        "Sources[0].Permissions[1].HTTP.PathRegex",
        "Sources[0].Permissions[2].HTTP",
    ]


def test_a_source_is_named_once() -> None:
    entry = (Intention("web", "api", Action.ALLOW), Intention("web", "api", Action.DENY))

    (violation,) = validate_all(entry)

    assert str(violation) == "Sources[1].Name: the source 'web' is already Sources[0]"


def test_a_regex_violation_says_what_re2_lacks() -> None:
    (violation,) = validate_regex("a(?=b)", "PathRegex")

    assert violation.path == "PathRegex"
    assert "RE2 has no lookahead" in violation.message
    assert validate_regex("a.*b", "PathRegex") == ()
