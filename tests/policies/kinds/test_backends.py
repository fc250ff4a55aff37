"""Weights become hundredths of a percent that sum exactly."""

from __future__ import annotations

import itertools
from fractions import Fraction

from hypothesis import given
from hypothesis import strategies as st

from mesh.model.traffic import WHOLE
from mesh.policies.backends import normalised

_weights = st.lists(st.integers(0, 1_000_000), min_size=1, max_size=30)


def test_thirds() -> None:
    assert normalised([1, 1, 1]) == (3334, 3333, 3333)


def test_percents_stay_what_they_are() -> None:
    assert normalised([90, 9, 1, 0]) == (9000, 900, 100, 0)


def test_nothing_for_nobody() -> None:
    assert normalised([0, 0]) == normalised([]) == ()


@given(_weights.filter(any))
def test_they_sum_to_the_whole_and_none_is_off_by_one(weights: list[int]) -> None:
    found = normalised(weights)

    assert sum(found) == WHOLE
    for weight, part in zip(weights, found, strict=True):
        assert abs(part - Fraction(weight * WHOLE, sum(weights))) < 1
        assert weight or not part


@given(_weights.filter(any))
def test_who_weighs_more_never_gets_less(weights: list[int]) -> None:
    by_weight = sorted(zip(weights, normalised(weights), strict=True))

    assert all(
        light[1] <= heavy[1] or light[0] == heavy[0]
        for light, heavy in itertools.pairwise(by_weight)
    )
