"""Which share of the calls ends at which target."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from mesh.model.destinations import Target
from mesh.model.entries import (
    Resolver,
    ResolverRedirect,
    Split,
    Splitter,
)
from mesh.model.requests import HeaderEdits
from mesh.model.traffic import WHOLE, Forward, Share
from mesh.routing.chain import (
    compile_chain,
)
from mesh.routing.chain.splitters import Branch, shares
from tests.routing.chain_parts import SUBSETS, blamed, entries_of, targets_of


def test_nested_splits_multiply() -> None:
    entries = entries_of(
        Splitter("api", (Split(25, "cart"), Split(75, subset="v1"))),
        Splitter("cart", (Split(40), Split(60, "api", "v2"))),
        Resolver("api", subsets=SUBSETS),
    )
    (route,) = compile_chain(entries, "api").routes
    assert targets_of(route) == {"cart": 1000, "v2.api": 1500, "v1.api": 7500}
    assert route.origins == {"route": "service-splitter api", "shares": "service-splitter api"}


def test_splits_that_end_at_one_target_become_one_share() -> None:
    entries = entries_of(
        Splitter("api", (Split(30, "cart"), Split(70, "db"))),
        Resolver("cart", redirect=ResolverRedirect("db")),
    )
    (route,) = compile_chain(entries, "api").routes
    assert route.action == Forward((Share(Target("db"), WHOLE),))


def test_a_split_without_calls_keeps_its_target() -> None:
    (route,) = compile_chain(
        entries_of(Splitter("api", (Split(100), Split(0, "new")))), "api"
    ).routes
    assert targets_of(route) == {"api": WHOLE, "new": 0}


def test_header_edits_of_nested_splits_come_together() -> None:
    outer = Split(
        100,
        "cart",
        request_headers=HeaderEdits(set=(("X-Step", "outer"), ("x-outer", "1")), remove=("a",)),
        response_headers=HeaderEdits(add=(("x-by", "outer"),)),
    )
    inner = Split(
        100,
        request_headers=HeaderEdits(set=(("x-step", "inner"),), remove=("A", "b")),
        response_headers=HeaderEdits(add=(("x-by", "inner"), ("x-inner", "1"))),
    )
    entries = entries_of(Splitter("api", (outer,)), Splitter("cart", (inner,)))
    (route,) = compile_chain(entries, "api").routes
    assert isinstance(route.action, Forward)
    (share,) = route.action.shares
    # A request passes the outer split first, its answer the inner one: the later has its way.
    assert share.request_headers == HeaderEdits(
        set=(("x-step", "inner"), ("x-outer", "1")), remove=("A", "b")
    )
    assert share.response_headers == HeaderEdits(add=(("x-by", "outer"), ("x-inner", "1")))


def test_splits_that_edit_headers_differently_stay_apart() -> None:
    marked = HeaderEdits(set=(("x-canary", "1"),))
    entries = entries_of(Splitter("api", (Split(90), Split(10, "canary", request_headers=marked))))
    canary = Resolver("canary", redirect=ResolverRedirect("api"))
    entries = entries_of(*entries.splitters.values(), canary)
    (route,) = compile_chain(entries, "api").routes
    assert route.action == Forward(
        (Share(Target("api"), 9000), Share(Target("api"), 1000, request_headers=marked))
    )


def test_a_loop_of_splitters_is_told_once() -> None:
    entries = entries_of(
        Splitter("db", (Split(100, "api"),)),
        Splitter("api", (Split(50), Split(50, "db"))),
        Splitter("edge", (Split(100, "db"),)),
    )
    assert blamed(entries, "edge", "db", "api") == [
        "service-splitter api Splits: a loop of splitters: api → db → api"
    ]


def test_weights_add_up() -> None:
    entries = entries_of(Splitter("api", (Split(50), Split(40, "db"))))
    assert blamed(entries, "api") == [
        "service-splitter api Splits: the weights add up to 90 instead of 100"
    ]


@given(st.lists(st.integers(0, WHOLE), min_size=1, max_size=9).filter(any))
def test_shares_sum_to_the_whole(parts: list[int]) -> None:
    total = sum(parts)
    branches = tuple(Branch(Target(f"s{index}"), part / total) for index, part in enumerate(parts))
    made = shares(branches)
    assert sum(share.weight for share in made) == WHOLE
    for share, branch in zip(made, branches, strict=True):
        assert abs(share.weight - branch.part * WHOLE) < 1 + 1e-6
        assert branch.part or share.weight == 0


def test_splitters_that_multiply_without_end_are_refused_and_hang_nobody() -> None:
    deep = [Splitter(f"s{n}", (Split(100, f"s{n + 1}"),)) for n in range(2000)]
    assert "lies within 50 other splitters" in str(blamed(entries_of(*deep), "s0"))
    wide = [Splitter(f"s{n}", (Split(50, f"s{n + 1}"), Split(50, f"s{n + 1}"))) for n in range(45)]
    assert "more than 1000 ways" in str(blamed(entries_of(*wide), "s0"))
