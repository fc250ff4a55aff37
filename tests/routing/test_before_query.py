"""An expression of the path, asked of the path with its query."""

from __future__ import annotations

import re

import pytest
from hypothesis import assume, given, reject, settings
from hypothesis import strategies as st

from mesh.policies.intentions.re2 import InvalidRegexError, compile_re2, full_match
from mesh.routing.before_query import before_query

ATOMS = st.sampled_from(
    [
        *("a", "/", "b", ".", r"\?", "^", "$", r"\z", r"\A", r"\b", r"\x3F", r"\x{3f}", r"\x61"),
        *("[a/]", "[^a]", "[^?]", "[?]", "[?a]", "[!-~]", "[^]a]", "[]?]", "[^-a]", "[-?]", "[a-]"),
        *(r"\w", r"\W", r"\S", r"\D", r"[\S]", r"[^\w]", r"[^\W]", r"[\]?]", r"[^\]]"),
        *("[[:punct:]]", "[^[:alpha:]]", "[[:^alpha:]/]", r"\Qa?\E", r"\Q/b\E", r"\Q.$", "é"),
    ]
)
LOOKING_BACK = re.compile(r"(\$|\\z).*(\^|\\[Ab])")
"""What looks around where the text has ended: nobody writes so, and it may not hold."""
PATTERNS = st.recursive(
    ATOMS,
    lambda inner: st.one_of(
        st.lists(inner, min_size=1, max_size=3).map("".join),
        st.lists(inner, min_size=2, max_size=2).map("|".join),
        st.tuples(
            st.sampled_from(["(", "(?:", "(?i)(", "(?s:", "(?P<n>"]),
            inner,
            st.sampled_from(["", "*", "+", "?", "*?", "{0,2}"]),
        ).map(lambda parts: f"{parts[0]}{parts[1]}){parts[2]}"),
    ),
    max_leaves=5,
)
PATHS = st.text(alphabet="ab/A-]é~", max_size=4)
QUERIES = st.text(alphabet="ab/?-", max_size=3).map(lambda text: f"?{text}")


@settings(deadline=None, max_examples=1000)
@given(PATTERNS, st.lists(PATHS, min_size=1, max_size=8), QUERIES | st.just(""))
def test_it_holds_where_the_expression_does_of_the_path(
    pattern: str, paths: list[str], query: str
) -> None:
    try:
        compile_re2(pattern)
    except InvalidRegexError:
        reject()
    assume(not query or not LOOKING_BACK.search(pattern))
    for path in paths:
        assert full_match(before_query(pattern), path + query) == full_match(pattern, path), path


@pytest.mark.parametrize(
    ("pattern", "target", "holds"),
    [
        (".*/public", "/admin?/public", False),
        ("^/admin$", "/admin?x", True),
        ("/admin/.*$", "/admin/x?y?z", True),
        ("/a[^/]*", "/a?b/c", True),
        (r"/\S+/b", "/a?/b", False),
        (r"/a\?x", "/a?x", False),
    ],
)
def test_a_query_neither_helps_nor_hinders(pattern: str, target: str, holds: bool) -> None:  # noqa: FBT001 a parameter of the test
    assert full_match(before_query(pattern), target) is holds
