"""MeshRollout: let a new version take over step by step, for as long as its calls go well.

The document says what shall happen; how far it has come is kept beside it (``policies.rollouts``)
and moved on by the zone's leader.  It concerns whoever calls, so it selects no proxies.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import Annotated, Final

from pydantic import AfterValidator, Field

from mesh.model.destinations import Target
from mesh.policies.kind import Kind
from mesh.policies.shape import EVERY_PROXY, ProxyRef, Strict
from mesh.policies.spec import Spec
from mesh.policies.units import Count, Duration, Percent, PositiveDuration, ServiceName

SHORTEST_INTERVAL: Final = 0.1
"""Seconds between two judgements, at least."""


def _nobody(_: ProxyRef) -> ProxyRef:
    raise ValueError("is not possible: a rollout concerns everybody who calls the service")


class VersionModel(Strict):
    """One version: a service, or a subset of it as its service-resolver has it."""

    service: ServiceName = ""
    """Its service; absent, it is that of the rollout."""
    subset: str = ""
    """Its subset; absent, it is whatever the service's resolver makes of the bare name."""


class StepModel(Strict):
    """A share of the calls, and for how long it is watched."""

    weight: Annotated[Percent, Field(gt=0)]
    """Percentage of the calls that go to the canary."""
    hold: Duration
    """How long the gates must be satisfied before the next step."""


class SuccessRateModel(Strict):
    """How many calls must succeed."""

    min: Percent
    """The least percentage of calls without a failure."""


class LatencyModel(Strict):
    """How quickly calls must be answered."""

    percentile: Annotated[Percent, Field(gt=0)] = 99.0
    """The percentage of calls that must be within `max`."""
    max: PositiveDuration
    """The longest that they may take."""


class ComparisonModel(Strict):
    """How much worse than the stable version the canary may be, over the same time."""

    success_rate_drop: Percent | None = None
    """The most percentage points by which its success rate may be lower."""
    latency_increase: PositiveDuration | None = None
    """The most by which its latency, at the percentile of `latency`, may be higher."""


class GatesModel(Strict):
    """What the canary's calls are judged by."""

    min_requests: Count = 100
    """How many calls a judgement takes; until there are as many, the rollout waits."""
    success_rate: SuccessRateModel = SuccessRateModel(min=99.0)
    """How many calls must succeed; at least 99 of 100 if nothing is said."""
    latency: LatencyModel | None = None
    """How quickly calls must be answered; absent, it does not matter."""
    compare_with_stable: ComparisonModel | None = None
    """How much worse than the stable version it may be; absent, they are not compared."""

    @property
    def percentile(self) -> float:
        """The percentile at which latencies are compared."""
        return self.latency.percentile if self.latency else 99.0


class RolloutSpec(Spec):
    """The ``spec`` of MeshRollout."""

    # Checked only where it is given.
    target_ref: Annotated[ProxyRef, AfterValidator(_nobody)] = EVERY_PROXY
    """Not possible: a rollout concerns everybody who calls the service."""
    service: ServiceName
    """The service whose calls are divided."""
    stable: VersionModel
    """The version whose calls are divided."""
    canary: VersionModel
    """The version that shall take over."""
    steps: tuple[StepModel, ...] = Field(min_length=1, max_length=50)
    """The steps, each with a greater weight than the one before; after the last it is 100."""
    gates: GatesModel = GatesModel()
    """What the canary's calls are judged by."""
    interval: Annotated[PositiveDuration, Field(ge=SHORTEST_INTERVAL)] = 10.0
    """The time between two judgements."""
    failure_limit: Count = 1
    """How many judgements in a row must fail before the calls go back to the stable version."""

    @property
    def stable_target(self) -> Target:
        """The version whose calls are divided."""
        return Target(self.stable.service or self.service, self.stable.subset)

    @property
    def canary_target(self) -> Target:
        """The version that shall take over."""
        return Target(self.canary.service or self.service, self.canary.subset)

    def about(self, name: str) -> tuple[str, ...]:  # noqa: ARG002 - the shape of every kind
        """Return the services that it is about, whatever the document is called."""
        named = (self.service, self.stable_target.service, self.canary_target.service)
        return tuple(dict.fromkeys(named))


def _check(spec: RolloutSpec) -> Iterator[tuple[str, str]]:
    if spec.stable_target == spec.canary_target:
        yield "canary", f"is the stable version, {spec.stable_target.name}: name another"
    for index, (earlier, later) in enumerate(pairwise(spec.steps), 1):
        if later.weight <= earlier.weight:
            yield (
                f"steps[{index}].weight",
                f"{later.weight:g} is not above the {earlier.weight:g} of the step before",
            )


KIND: Final = Kind(
    name="MeshRollout",
    summary="A new version takes over step by step, and loses its calls again if they go badly.",
    spec=RolloutSpec,
    check=_check,
    example="""\
type: MeshRollout
name: api-v2
spec:
  service: api
  stable: {subset: v1}
  canary: {subset: v2}
  steps:
    - {weight: 5, hold: 2m}
    - {weight: 25, hold: 5m}
    - {weight: 50, hold: 5m}
  gates:
    minRequests: 100
    successRate: {min: 99.5}
    latency: {percentile: 99, max: 300ms}
    compareWithStable: {successRateDrop: 0.5, latencyIncrease: 50ms}
  interval: 10s
  failureLimit: 2
""",
)
