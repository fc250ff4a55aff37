"""Which Envoy to start or retire: every situation, and the invariant over all of them."""

from __future__ import annotations

import itertools

import pytest

from mesh.agent.launch import PATIENCE, Phase, Step, View, decide

ABSENT, STARTING, SERVING = Phase.ABSENT, Phase.STARTING, Phase.SERVING
ALL = [
    View(live, fallback, zone, record, waited, may_live, may_fallback)
    for live, fallback, zone, record, waited, may_live, may_fallback in itertools.product(
        Phase, Phase, (True, False), (True, False), (0.0, PATIENCE), (True, False), (True, False)
    )
]


@pytest.mark.parametrize(
    ("view", "step"),
    [
        # The first start ever: Envoy itself waits for the zone.
        (View(ABSENT, ABSENT, zone_answers=False, has_last_good=False), Step.START_LIVE),
        # A restart, the zone there or away.
        (View(ABSENT, ABSENT, zone_answers=True, has_last_good=True), Step.START_LIVE),
        (View(ABSENT, ABSENT, zone_answers=False, has_last_good=True), Step.START_FALLBACK),
        # The zone came back.
        (View(ABSENT, SERVING, zone_answers=True, has_last_good=True), Step.START_LIVE),
        (View(STARTING, SERVING, zone_answers=True, has_last_good=True), Step.NOTHING),
        (View(SERVING, SERVING, zone_answers=True, has_last_good=True), Step.RETIRE_FALLBACK),
        # The zone answered and then said nothing.
        (
            View(STARTING, ABSENT, zone_answers=True, has_last_good=True, live_for=PATIENCE),
            Step.START_FALLBACK,
        ),
        # Live crashes again and again.
        (
            View(ABSENT, ABSENT, zone_answers=True, has_last_good=True, may_start_live=False),
            Step.START_FALLBACK,
        ),
        (View(SERVING, ABSENT, zone_answers=False, has_last_good=True), Step.NOTHING),
    ],
)
def test_a_situation(view: View, step: Step) -> None:
    assert decide(view) is step


def test_a_fallback_is_retired_only_when_live_serves() -> None:
    for view in ALL:
        if decide(view) is Step.RETIRE_FALLBACK:
            assert view.live is SERVING
            assert view.fallback is not ABSENT


def test_nothing_is_started_twice_or_during_its_pause() -> None:
    for view in ALL:
        step = decide(view)
        if step is Step.START_LIVE:
            assert view.live is ABSENT
            assert view.may_start_live
        if step is Step.START_FALLBACK:
            assert view.fallback is ABSENT
            assert view.has_last_good
            assert view.may_start_fallback


def test_with_a_record_nobody_waits_for_the_zone() -> None:
    for view in ALL:
        idle = view.fallback is ABSENT and view.live is not SERVING
        patient = view.live is STARTING and view.live_for < PATIENCE
        if idle and not patient and view.has_last_good and view.may_start_fallback:
            assert decide(view) is not Step.NOTHING
