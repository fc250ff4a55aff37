"""How a rollout goes on by itself.  Pure.

Invariants, whatever is observed: the step goes up by one or stays; the weight is the step's, or
that of the phase (100 promoted, 0 pending, rolled back or aborted); a failed judgement never
raises it; a final phase is left by another document or a person only.

A judgement is made each ``interval``, over the calls since the last verdict that was one: while
there are too few of them the rollout waits, and says so.  After ``failureLimit`` failures in a
row all calls go back at once.  A step is over when it has lasted for ``hold`` and the judgement
at its end passes.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta

import msgspec

from mesh.policies.kinds.rollout import RolloutSpec
from mesh.policies.rollouts.figures import NOTHING, Figures
from mesh.policies.rollouts.gates import Judgement, Verdict, judge
from mesh.policies.rollouts.state import (
    ALL,
    REMEMBERED,
    Event,
    Observed,
    Phase,
    State,
    Version,
    shape_of,
)


@dataclass(frozen=True, slots=True)
class Observation:
    """The calls since the observation before.

    ``proxies`` is how many of the ``callers`` told of them; ``problem`` is why the rollout cannot
    begin, or go on.
    """

    canary: Figures = NOTHING
    stable: Figures = NOTHING
    proxies: int = 0
    callers: int = 0
    problem: str = ""


def begin(spec: RolloutSpec, document: int, now: datetime, *, before: State | None = None) -> State:
    """Return the state at the first step; the history of ``before`` goes on."""
    state = _fresh(spec, document, now, before)
    state = msgspec.structs.replace(state, phase=Phase.PROGRESSING, weight=spec.steps[0].weight)
    return noted(state, f"begins with document v{document}", now)


def wait(
    spec: RolloutSpec, document: int, problem: str, now: datetime, *, before: State | None = None
) -> State:
    """Return the state of a rollout that cannot begin, because of ``problem``."""
    if before is not None and before.phase is Phase.PENDING and not begins_again(spec, before):
        kept = msgspec.structs.replace(before, document=document)
        return kept if kept.reason == problem else noted(kept, problem, now)
    return noted(_fresh(spec, document, now, before), problem, now)


def _fresh(spec: RolloutSpec, document: int, now: datetime, before: State | None) -> State:
    return State(
        stable=Version(spec.stable_target.service, spec.stable_target.subset),
        canary=Version(spec.canary_target.service, spec.canary_target.subset),
        document=document,
        shape=shape_of(spec),
        run=f"{document}-{now.timestamp():.3f}",
        phase=Phase.PENDING,
        step=0,
        weight=0.0,
        since=now,
        judged_at=now,
        reason="",
        history=before.history if before else (),
    )


def begins_again(spec: RolloutSpec, state: State) -> bool:
    """Whether the document asks for something else than ``state`` was made for."""
    return shape_of(spec) != state.shape


def is_due(spec: RolloutSpec, state: State, now: datetime) -> bool:
    """Whether it is time to judge."""
    return state.phase.is_judged and now - state.judged_at >= timedelta(seconds=spec.interval)


def advance(
    spec: RolloutSpec, document: int, state: State | None, seen: Observation, now: datetime
) -> State:
    """Return the state after ``seen``; ``document`` is the version that ``spec`` is from."""
    if state is None or begins_again(spec, state) or state.phase is Phase.PENDING:
        if seen.problem:
            return wait(spec, document, seen.problem, now, before=state)
        return begin(spec, document, now, before=state)
    if state.document != document:
        state = msgspec.structs.replace(state, document=document)
    if state.phase.is_final:
        return state
    state = msgspec.structs.replace(
        state,
        canary_window=state.canary_window.plus(seen.canary),
        stable_window=state.stable_window.plus(seen.stable),
    )
    return _judged(spec, state, seen, now) if is_due(spec, state, now) else state


def _judged(spec: RolloutSpec, state: State, seen: Observation, now: datetime) -> State:
    judgement = judge(spec.gates, state.canary_window, state.stable_window)
    if judgement.verdict is Verdict.WAITING and seen.problem:
        judgement = replace(judgement, reason=seen.problem)
    observed = _observed(spec, state, judgement.verdict, seen, now)
    state = msgspec.structs.replace(
        state, judged_at=now, observed=observed, reason=judgement.reason
    )
    if judgement.verdict is Verdict.WAITING:
        return state
    state = msgspec.structs.replace(state, canary_window=NOTHING, stable_window=NOTHING)
    if judgement.verdict is Verdict.FAILED:
        return _failed(spec, state, judgement, now)
    state = msgspec.structs.replace(state, breaches=0)
    return _passed(spec, state, now)


def noted(state: State, reason: str, now: datetime) -> State:
    """Return ``state`` with ``reason``, and an event that tells of it."""
    event = Event(now, state.phase, state.step, state.weight, reason)
    history = (*state.history, event)[-REMEMBERED:]
    return msgspec.structs.replace(state, reason=reason, history=history)


def ended(state: State, phase: Phase, reason: str, now: datetime) -> State:
    """Return ``state`` in a final phase, with the weight that goes with it."""
    weight = ALL if phase is Phase.PROMOTED else 0.0
    ends = msgspec.structs.replace(
        state,
        phase=phase,
        weight=weight,
        since=now,
        canary_window=NOTHING,
        stable_window=NOTHING,
    )
    return noted(ends, reason, now)


def _failed(spec: RolloutSpec, state: State, judgement: Judgement, now: datetime) -> State:
    breaches = state.breaches + 1
    state = msgspec.structs.replace(state, breaches=breaches)
    if breaches >= spec.failure_limit:
        return ended(state, Phase.ROLLED_BACK, judgement.reason, now)
    reason = f"{judgement.reason} (failure {breaches} of {spec.failure_limit})"
    return noted(state, reason, now)


def _passed(spec: RolloutSpec, state: State, now: datetime) -> State:
    if state.phase is not Phase.PROGRESSING:
        return state
    hold = timedelta(seconds=spec.steps[state.step].hold)
    if now - state.since < hold:
        return state
    following = state.step + 1
    if following == len(spec.steps):
        return ended(state, Phase.PROMOTED, f"{state.reason} at the last step", now)
    onward = msgspec.structs.replace(
        state, step=following, weight=spec.steps[following].weight, since=now
    )
    return noted(onward, state.reason, now)


def _observed(
    spec: RolloutSpec, state: State, verdict: Verdict, seen: Observation, now: datetime
) -> Observed:
    canary, stable = state.canary_window, state.stable_window
    percentile = spec.gates.percentile
    return Observed(
        now,
        verdict,
        seen.proxies,
        seen.callers,
        canary.requests,
        _rounded(canary.success_rate),
        _milliseconds(canary.latency(percentile)),
        stable.requests,
        _rounded(stable.success_rate),
        _milliseconds(stable.latency(percentile)),
    )


def _rounded(rate: float | None) -> float | None:
    return None if rate is None else round(rate, 3)


def _milliseconds(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds * 1000, 3)
