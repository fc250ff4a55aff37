"""Random intentions and calls over a small world, so that they meet often."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from typing import Final

from hypothesis import strategies as st

from mesh.model.intentions import (
    Action,
    ClaimMatch,
    HeaderMatch,
    HeaderMatchKind,
    Intention,
    IntentionsByDestination,
    JwtRequirement,
    PathMatch,
    PathMatchKind,
    Permission,
)
from mesh.model.names import WILDCARD
from mesh.model.services import Protocol
from mesh.policies.intentions import Call

SERVICES: Final = ("web", "web-2", "api", "db")
ISSUERS: Final = {"okta": "https://okta.test", "corp": "https://corp.test"}

actions = st.sampled_from(Action)
protocols = st.sampled_from(Protocol)
_names = st.sampled_from((*SERVICES, WILDCARD))
_words = st.sampled_from(("a", "A", "b", "ab", "aB"))


def grouped(intentions: Iterable[Intention]) -> IntentionsByDestination:
    """Return ``intentions`` keyed by destination."""
    found: defaultdict[str, list[Intention]] = defaultdict(list)
    for intention in intentions:
        found[intention.destination].append(intention)
    return {name: tuple(entry) for name, entry in found.items()}


def l4_intentions() -> st.SearchStrategy[tuple[Intention, ...]]:
    """Return sets of intentions as the legacy API holds them."""
    pairs = st.dictionaries(st.tuples(_names, _names), actions, max_size=8)
    return pairs.map(
        lambda found: tuple(
            Intention(source, destination, action)
            for (source, destination), action in found.items()
        )
    )


_claims = st.builds(
    ClaimMatch,
    path=st.sampled_from((("role",), ("perms", "role"))),
    value=st.sampled_from(("admin", "user")),
)
_tokens = st.lists(
    st.builds(
        JwtRequirement,
        provider=st.sampled_from(tuple(ISSUERS)),
        claims=st.lists(_claims, max_size=2).map(tuple),
    ),
    max_size=2,
).map(tuple)
_no_tokens = st.just(())
_never = st.sampled_from((False,))


def _header(kind: HeaderMatchKind) -> st.SearchStrategy[HeaderMatch]:
    values = {
        HeaderMatchKind.PRESENT: st.just(""),
        HeaderMatchKind.REGEX: st.sampled_from(("a.*", "[ab]+", "(?i)ab?")),
    }
    return st.builds(
        HeaderMatch,
        name=st.sampled_from(("x-one", "X-Two")),
        kind=st.just(kind),
        value=values.get(kind, _words),
        invert=st.booleans(),
        ignore_case=st.booleans() if kind not in values else _never,
    )


_paths = st.one_of(
    st.builds(PathMatch, st.just(PathMatchKind.EXACT), st.sampled_from(("/a", "/a/b", "/"))),
    st.builds(PathMatch, st.just(PathMatchKind.PREFIX), st.sampled_from(("/a", "/b/", "/"))),
    st.builds(PathMatch, st.just(PathMatchKind.REGEX), st.sampled_from(("/a.*", "/[ab]", ".*/b"))),
)
_permissions = st.builds(
    Permission,
    action=actions,
    path=st.none() | _paths,
    methods=st.sets(st.sampled_from(("GET", "PUT"))).map(sorted).map(tuple),
    headers=st.lists(st.sampled_from(HeaderMatchKind).flatmap(_header), max_size=2).map(tuple),
    jwt=st.one_of(_no_tokens, _no_tokens, _tokens),
)


@st.composite
def l7_intentions(draw: st.DrawFn) -> tuple[Intention, ...]:
    """Draw sets of intentions with permissions and required tokens."""
    pairs = draw(st.sets(st.tuples(_names, st.sampled_from(("api", WILDCARD))), max_size=7))
    required = draw(st.one_of(_no_tokens, _no_tokens, _tokens))
    found = []
    for source, destination in sorted(pairs):
        jwt = required if destination != WILDCARD else ()
        if destination != WILDCARD and draw(st.integers(0, 2)):
            permissions = draw(st.lists(_permissions, min_size=1, max_size=4).map(tuple))
            found.append(Intention(source, destination, permissions=permissions, jwt=jwt))
        else:
            found.append(Intention(source, destination, draw(actions), jwt=jwt))
    return tuple(found)


_roles = st.sampled_from(("admin", "user", ["user", "admin"], ["x"], 7))
_payloads = st.fixed_dictionaries(
    {}, optional={"role": _roles, "perms": st.fixed_dictionaries({"role": _roles})}
)

requests = st.builds(
    Call,
    source=st.sampled_from(SERVICES),
    destination=st.just("api"),
    protocol=protocols,
    method=st.sampled_from(("GET", "PUT", "POST")),
    path=st.sampled_from(("/", "/a", "/a/b", "/b", "/b/c?q=/a", "//a", "/b/../a", "/A")),
    headers=st.dictionaries(st.sampled_from(("X-One", "x-two")), _words, max_size=2),
    claims=st.dictionaries(st.sampled_from(tuple(ISSUERS)), _payloads, max_size=2),
)
