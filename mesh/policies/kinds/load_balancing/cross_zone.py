"""Which zones stand in for the caller's own, and when.

Source: ``localityAwareness.crossZone`` of Kuma's MeshLoadBalancingStrategy.  There the traffic that
a zone keeps falls short of what the threshold says below 100%; here it is what Envoy's
documentation of priority levels makes of it: all of it stays while at least so many percent of the
instances are healthy, and below that what they cannot take.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field

from mesh.model.destinations import ZoneRule
from mesh.model.names import zone_name
from mesh.policies.kind import Violations
from mesh.policies.shape import Strict

ZoneName = Annotated[str, AfterValidator(zone_name)]
Zones = Annotated[tuple[ZoneName, ...], Field(min_length=1)]


class From(Strict):
    """The zones of the callers that a rule is for."""

    zones: Zones
    """Their names."""


class To(Strict):
    """The zones that calls turn to."""

    type: Literal["Any", "AnyExcept", "Only", "None"]
    """Any zone, the nearest first; any but those named; those named, in order; or none."""
    zones: Zones | None = None
    """Names of zones, for AnyExcept and Only."""


class FailoverRule(Strict):
    """Where calls turn to once the zones before cannot take them."""

    from_: Annotated[From | None, Field(alias="from")] = None
    """Only for callers in these zones; without, for all."""
    to: To
    """The zones that calls turn to."""


class Threshold(Strict):
    """When they turn."""

    percentage: Annotated[int, Field(ge=1, le=100)]
    """All calls stay while at least this share of the instances is healthy; below it, what those
    that are healthy cannot take goes to the next zone.  Without, calls stay to the last."""


class CrossZone(Strict):
    """Which zones stand in for the caller's own, one rule after another."""

    failover: tuple[FailoverRule, ...] | None = None
    """The rules, in order.  An empty list keeps all calls in the caller's zone."""
    failover_threshold: Threshold | None = None
    """When calls turn to them."""


def cross_zone(conf: CrossZone) -> dict[str, Any]:
    """Return what ``conf`` says of the form's load balancing."""
    fields: dict[str, Any] = {}
    if conf.failover is not None:
        fields["cross_zone"] = tuple(_rule(one) for one in conf.failover)
    if conf.failover_threshold is not None:
        fields["spill_below"] = conf.failover_threshold.percentage
    return fields


def check_cross_zone(place: str, conf: CrossZone) -> Violations:
    """Yield what is wrong with ``conf``, which stands at ``place``."""
    for index, rule in enumerate(conf.failover or ()):
        named, needs = rule.to.zones is not None, rule.to.type in {"AnyExcept", "Only"}
        if named is not needs:
            wrong = "is needed" if needs else "says nothing"
            yield f"{place}.failover[{index}].to.zones", f"{wrong} with type {rule.to.type}"


def _rule(said: FailoverRule) -> ZoneRule:
    origins = said.from_.zones if said.from_ is not None else ()
    if said.to.type == "None":
        return ZoneRule(origins)
    others = said.to.type in {"Any", "AnyExcept"}
    return ZoneRule(origins, said.to.zones or (), others=others)
