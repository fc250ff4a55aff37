"""RE2's dialect: read as RE2 reads it, refused where RE2 would refuse."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mesh.envoy.rbac import quoted
from mesh.policies.intentions.re2 import InvalidRegexError, full_match


@pytest.mark.parametrize(
    ("pattern", "accepted", "refused"),
    [
        ("/api/v[0-9]+", "/api/v12", "/api/v"),
        ("(?i)abc|d", "D", "ad"),
        ("(?i:a)b", "Ab", "AB"),
        ("((?i)a|b)c", "Bc", "bC"),
        ("(?P<year>[0-9]{4})-x", "2024-x", "204-x"),
        ("(?:a|b)*?", "abab", "c"),
        ("[[:alpha:]_-]+", "ab_-", "a1"),
        ("[[:^digit:]]+", "ab-", "a1"),
        ("[^]a]", "b", "]"),
        ("[a&&b]", "&", "c"),
        ("[--/]+", "-./", "0"),
        (r"[\w.\-]+", "a_1.-", "a b"),
        (r"\Qa.b\E+", "a.bb", "axb"),
        (r"\x41\x{42}", "AB", "ab"),
        ("a{,3}", "a{,3}", "aa"),
        ("a{2,3}", "aaa", "a"),
        (r"\d+", "12", "\u0661"),
        (r"\Aab\z", "ab", "b"),
        ("^a$", "a", "b"),
    ],
)
def test_a_pattern_means_what_re2_means_by_it(pattern: str, accepted: str, refused: str) -> None:
    assert full_match(pattern, accepted)
    assert not full_match(pattern, refused)


@pytest.mark.parametrize(
    ("pattern", "why"),
    [
        ("a(?=b)", "lookahead"),
        ("a(?!b)", "lookahead"),
        ("(?<=a)b", "lookbehind"),
        ("(?<!a)b", "lookbehind"),
        (r"(a)\1", "backreferences"),
        ("(?P<n>a)(?P=n)", "backreferences"),
        ("(?>a)", "atomic groups"),
        ("(a)(?(1)b|c)", "conditionals"),
        ("(?#note)a", "comments"),
        ("a++", "possessive"),
        ("a**", "possessive"),
        ("a{2}{3}", "possessive"),
        ("a{1001}", "at most 1000"),
        ("a{3,2}", "at most 1000"),
        ("(a{100}){100}", "nested repetitions"),
        ("*a", "nothing to repeat"),
        ("a|+", "nothing to repeat"),
        ("(a", r"missing \)"),
        ("a)", r"unexpected \)"),
        ("[a", "missing ]"),
        ("[z-a]", "bad character range"),
        ("[[:foo:]]", "unknown class"),
        ("a\\", "ends in a backslash"),
        (r"a\Z", "RE2 has no"),
        (r"\u0041", "RE2 has no"),
        (r"\x{110000}", "no character"),
        ("(?x)a b", "RE2 has no"),
        (r"\pL", "cannot be evaluated"),
        ("a(?i)b", "start of a pattern or group"),
    ],
)
def test_what_re2_lacks_is_refused_with_its_place(pattern: str, why: str) -> None:
    with pytest.raises(InvalidRegexError, match=why):
        full_match(pattern, "a")


@given(st.text())
def test_no_pattern_breaks_the_reader(pattern: str) -> None:
    try:
        full_match(pattern, "abc")
    except InvalidRegexError as error:
        assert repr(pattern) in str(error)  # noqa: PT017 - most patterns are refused, some are not


@given(st.text(), st.text())
def test_a_quoted_text_matches_itself_only(text: str, other: str) -> None:
    assert full_match(quoted(text), text)
    assert full_match(quoted(text), other) is (text == other)
