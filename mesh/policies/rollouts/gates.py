"""Whether a canary's calls go well enough.  Pure.

A judgement takes ``minRequests`` calls; where latency is judged, as many whose time is known.
One gate that is not satisfied is enough to fail, and nothing passes before all were judged.
"""

from __future__ import annotations

import enum
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from mesh.policies.rollouts.figures import Figures

if TYPE_CHECKING:  # the state knows verdicts, and is read by who knows no documents
    from mesh.policies.kinds.rollout import GatesModel

_NOISE: Final = 1e-9
"""Floating point: what differs by less is equal."""


class Verdict(enum.StrEnum):
    """What came of a judgement."""

    PASSED = "passed"
    FAILED = "failed"
    WAITING = "waiting"
    """There were too few calls to tell."""


@dataclass(frozen=True, slots=True)
class Judgement:
    """A verdict, and why."""

    verdict: Verdict
    reason: str


def judge(gates: GatesModel, canary: Figures, stable: Figures) -> Judgement:
    """Judge the calls of the canary, beside those of the stable version at the same time."""
    if canary.requests < gates.min_requests:
        reason = f"waits for requests: {canary.requests} of {gates.min_requests}"
        return Judgement(Verdict.WAITING, reason)
    faults = [*_success(gates, canary, stable)]
    timed = canary.timed >= gates.min_requests
    if timed:
        faults += _latency(gates, canary, stable)
    if faults:
        return Judgement(Verdict.FAILED, "; ".join(faults))
    if not timed and _times_matter(gates):
        reason = f"waits for latencies: {canary.timed} of {gates.min_requests}"
        return Judgement(Verdict.WAITING, reason)
    return Judgement(Verdict.PASSED, f"the gates are satisfied by {canary.requests} requests")


def _success(gates: GatesModel, canary: Figures, stable: Figures) -> Iterator[str]:
    rate = canary.success_rate
    if rate is None:
        return
    least = gates.success_rate.min
    if rate < least - _NOISE:
        yield f"success rate {rate:.2f}% is below {least:g}%"
    drop = gates.compare_with_stable and gates.compare_with_stable.success_rate_drop
    other = stable.success_rate
    comparable = drop is not None and stable.requests >= gates.min_requests
    if comparable and other is not None and other - rate > (drop or 0) + _NOISE:
        yield f"success rate {rate:.2f}% is more than {drop:g} below the stable {other:.2f}%"


def _latency(gates: GatesModel, canary: Figures, stable: Figures) -> Iterator[str]:
    name, found = f"p{gates.percentile:g}", canary.latency(gates.percentile)
    if found is None:
        return
    if gates.latency and found > gates.latency.max + _NOISE:
        yield f"latency {name} {_ms(found)} is above {_ms(gates.latency.max)}"
    increase = gates.compare_with_stable and gates.compare_with_stable.latency_increase
    other = stable.latency(gates.percentile)
    comparable = increase is not None and stable.timed >= gates.min_requests
    if comparable and other is not None and found - other > (increase or 0) + _NOISE:
        yield (
            f"latency {name} {_ms(found)} is more than {_ms(increase or 0)} above "
            f"the stable {_ms(other)}"
        )


def _times_matter(gates: GatesModel) -> bool:
    compared = gates.compare_with_stable
    return bool(gates.latency or (compared and compared.latency_increase is not None))


def _ms(seconds: float) -> str:
    return f"{seconds * 1000:g}ms"
