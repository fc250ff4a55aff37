"""How a rollout goes on: by steps, never up on a breach, and to an end that stays."""

from __future__ import annotations

from datetime import timedelta

from hypothesis import given
from hypothesis import strategies as st

from mesh.policies.rollouts.figures import NOTHING, Figures
from mesh.policies.rollouts.gates import Verdict
from mesh.policies.rollouts.progress import Observation, advance, begin
from mesh.policies.rollouts.state import Phase, State, decode, encode
from mesh.policies.rollouts.wishes import NotPossibleError, Wish, fulfil
from tests.policies.rollouts.documents import BAD, GOOD, LATER, NOW, spec


def after(state: State | None, *seen: Figures, **said: object) -> State:
    """Return where a rollout stands after an observation each ten seconds."""
    now = state.judged_at if state else NOW
    found = state
    for each in seen:
        now += LATER
        found = advance(spec(**said), 1, found, Observation(each), now)
    assert found is not None
    return found


def begun(**said: object) -> State:
    return begin(spec(**said), 1, NOW)


def test_it_goes_up_by_steps_and_is_promoted() -> None:
    state = begun()
    weights = []
    for _ in range(13):
        state = after(state, GOOD)
        weights.append(state.weight)
    assert weights == [5, 5, 5, 5, 5, 50, 50, 50, 50, 50, 50, 100, 100]
    assert state.phase is Phase.PROMOTED
    assert [event.weight for event in state.history] == [5, 50, 100]


def test_a_breach_takes_all_calls_back_at_once() -> None:
    state = after(begun(), GOOD, BAD)
    assert (state.phase, state.weight) == (Phase.ROLLED_BACK, 0)
    assert state.reason == "success rate 50.00% is below 99%"
    assert after(state, GOOD, GOOD) == state


def test_failures_in_a_row_are_counted_and_a_success_forgives() -> None:
    state = after(begun(failureLimit=2), BAD, failureLimit=2)
    assert (state.phase, state.breaches) == (Phase.PROGRESSING, 1)
    assert state.reason.endswith("(failure 1 of 2)")
    assert after(state, GOOD, failureLimit=2).breaches == 0
    assert after(state, BAD, failureLimit=2).phase is Phase.ROLLED_BACK


def test_too_few_requests_are_waited_for_and_add_up() -> None:
    few = Figures(40)
    state = after(begun(), few, few)
    assert state.reason == "waits for requests: 80 of 100"
    assert state.observed is not None
    assert state.observed.verdict is Verdict.WAITING
    state = after(state, few)
    assert state.reason == "the gates are satisfied by 120 requests"
    assert state.canary_window == NOTHING


def test_however_long_nobody_calls_it_stays() -> None:
    state = after(begun(), *[NOTHING] * 100)
    assert (state.phase, state.step, state.reason) == (
        Phase.PROGRESSING,
        0,
        "waits for requests: 0 of 100",
    )


def test_why_nothing_can_be_measured_is_told() -> None:
    seen = Observation(problem="waits: no proxy that calls it is connected")
    assert advance(spec(), 1, begun(), seen, NOW + LATER).reason == seen.problem


def test_slow_calls_are_a_breach_and_unknown_times_are_waited_for() -> None:
    gates = {"latency": {"percentile": 90, "max": "100ms"}}
    slow = Figures(100, latencies={"50": 80, "250": 20})
    assert after(begun(gates=gates), slow, gates=gates).reason == "latency p90 250ms is above 100ms"
    waits = after(begun(gates=gates), GOOD, gates=gates)
    assert waits.reason == "waits for latencies: 0 of 100"
    # Failures need no latency to be seen.
    assert after(begun(gates=gates), BAD, gates=gates).phase is Phase.ROLLED_BACK


def test_the_stable_version_is_what_it_is_compared_with() -> None:
    gates = {
        "successRate": {"min": 0},
        "compareWithStable": {"successRateDrop": 1, "latencyIncrease": "50ms"},
    }
    canary = Figures(100, 4, {"100": 100})
    same = Observation(canary, Figures(1000, 40, {"60": 1000}))
    better = Observation(canary, Figures(1000, 20, {"40": 1000}))
    one = spec(gates=gates)
    assert advance(one, 1, begun(gates=gates), same, NOW + LATER).phase is Phase.PROGRESSING
    found = advance(one, 1, begun(gates=gates), better, NOW + LATER)
    assert found.reason == (
        "success rate 96.00% is more than 1 below the stable 98.00%; "
        "latency p99 100ms is more than 50ms above the stable 40ms"
    )


def test_what_cannot_begin_waits_without_calls() -> None:
    seen = Observation(problem="v2.api has no healthy instance")
    state = advance(spec(), 1, None, seen, NOW)
    assert (state.phase, state.weight, state.reason) == (Phase.PENDING, 0, seen.problem)
    assert advance(spec(), 1, state, seen, NOW + LATER) == state
    assert advance(spec(), 1, state, Observation(), NOW + LATER).phase is Phase.PROGRESSING


def test_a_document_that_asks_for_something_else_begins_again() -> None:
    state = after(begun(), *[GOOD] * 7)
    assert state.step == 1
    gates = advance(spec(failureLimit=3), 2, state, Observation(), NOW + 8 * LATER)
    assert (gates.step, gates.document, gates.run) == (1, 2, state.run)
    steps = advance(spec(10, 20), 3, gates, Observation(), NOW + 8 * LATER)
    assert (steps.phase, steps.step, steps.weight) == (Phase.PROGRESSING, 0, 10)
    assert steps.run != state.run
    assert steps.history[: len(state.history)] == state.history


def test_what_a_person_may_ask() -> None:
    state = after(begun(), GOOD)
    paused = fulfil(Wish.PAUSE, state, NOW)
    assert after(paused, *[GOOD] * 20).step == 0
    assert after(paused, BAD).phase is Phase.ROLLED_BACK
    resumed = fulfil(Wish.RESUME, paused, NOW + timedelta(hours=1))
    assert resumed.since == NOW + timedelta(hours=1)
    promoted = fulfil(Wish.PROMOTE, resumed, NOW)
    assert (promoted.phase, promoted.weight) == (Phase.PROMOTED, 100)
    aborted = fulfil(Wish.ABORT, promoted, NOW)
    assert (aborted.phase, aborted.weight) == (Phase.ABORTED, 0)
    again = advance(spec(), 1, fulfil(Wish.RESTART, aborted, NOW), Observation(), NOW)
    assert (again.phase, again.step, again.weight) == (Phase.PROGRESSING, 0, 5)


def test_what_has_no_meaning_is_refused() -> None:
    over = after(begun(), BAD)
    for wish in (Wish.PAUSE, Wish.RESUME, Wish.PROMOTE):
        try:
            fulfil(wish, over, NOW)
        except NotPossibleError as error:
            assert "RolledBack" in str(error)  # noqa: PT017 - each of three in a loop
        else:
            raise AssertionError(wish)
    assert fulfil(Wish.ABORT, over, NOW) is over


observations = st.builds(
    Figures, requests=st.integers(0, 300), failures=st.integers(0, 3)
) | st.just(BAD)
acts = st.tuples(observations, st.integers(1, 90), st.none() | st.sampled_from(list(Wish)))
SPEC = spec(1, 20, 50, 100, failureLimit=2)


@given(st.lists(acts, max_size=60))
def test_the_invariants_hold_whatever_is_seen_and_asked(
    story: list[tuple[Figures, int, Wish | None]],
) -> None:
    state, now = begin(SPEC, 1, NOW), NOW
    for seen, seconds, wish in story:
        now += timedelta(seconds=seconds)
        before = state
        state = advance(SPEC, 1, before, Observation(seen), now)
        if before.shape and not before.phase.is_final:
            assert state.step in {before.step, before.step + 1}
        if before.shape and before.phase.is_final:
            assert state == before
        if state.breaches > before.breaches or state.phase is Phase.ROLLED_BACK:
            assert state.weight <= before.weight
        _check(state)
        if wish is not None:
            try:
                state = fulfil(wish, state, now)
            except NotPossibleError:
                continue
            _check(state)


def _check(state: State) -> None:
    if state.phase.is_judged:
        assert state.weight == SPEC.steps[state.step].weight
    else:
        assert state.weight == (100 if state.phase is Phase.PROMOTED else 0)
    assert state.history[-1].weight == state.weight
    assert decode(encode(state), "one") == state
    assert state.rollout("one").weight == state.weight * 100
