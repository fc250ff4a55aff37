"""``UpstreamConfig`` of service-defaults: how a service treats its upstreams.  Pure."""

from __future__ import annotations

from typing import Final

from mesh.clients.consul.fields import Fields
from mesh.model.destinations import Detectors, Limits, Outlier
from mesh.model.entries import NO_UPSTREAM_DEFAULTS, UpstreamDefaults
from mesh.sources.consul.entries.fields import (
    count,
    duration,
    gateway_mode,
    milliseconds,
    refuse_enterprise,
)

_UNUSED: Final = (
    "BalanceOutboundConnections",
    "EnvoyClusterJSON",
    "EnvoyListenerJSON",
    "Protocol",
)
_MAX_FAILURES: Final = 5
"""Envoy's own number of consecutive failures, where ``MaxFailures`` is 0."""
_PERCENT: Final = 100


def upstream_config(fields: Fields) -> tuple[UpstreamDefaults, dict[str, UpstreamDefaults]]:
    """Return what holds for all upstreams, and what for some by name."""
    config = fields.child("UpstreamConfig")
    if config is None:
        return NO_UPSTREAM_DEFAULTS, {}
    defaults = NO_UPSTREAM_DEFAULTS
    said = config.child("Defaults")
    if said is not None:
        if said.text("Name"):
            said.wrong("Name", "is not possible: Defaults hold for every upstream")
        defaults = _upstream(said)
    overrides: dict[str, UpstreamDefaults] = {}
    for item in config.children("Overrides"):
        name = item.name("Name")
        if name in overrides:
            item.wrong("Name", f"{name!r} stands in an earlier override already")
        overrides[name] = _upstream(item)
    config.close()
    return defaults, overrides


def _upstream(said: Fields) -> UpstreamDefaults:
    refuse_enterprise(said)
    found = UpstreamDefaults(
        limits=_limits(said),
        outlier=_outlier(said),
        connect_timeout=milliseconds(said, "ConnectTimeoutMs"),
        gateway=gateway_mode(said),
    )
    said.skip(_UNUSED)
    said.close()
    return found


def _limits(said: Fields) -> Limits | None:
    limits = said.child("Limits")
    if limits is None:
        return None
    found = Limits(
        connections=count(limits, "MaxConnections"),
        pending=count(limits, "MaxPendingRequests"),
        requests=count(limits, "MaxConcurrentRequests"),
    )
    limits.close()
    return None if found == Limits() else found


def _outlier(said: Fields) -> Outlier | None:
    check = said.child("PassiveHealthCheck")
    if check is None:
        return None
    enforced = count(check, "EnforcingConsecutive5xx", _PERCENT)
    failures = count(check, "MaxFailures") or _MAX_FAILURES
    found = Outlier(
        detectors=Detectors(
            consecutive_5xx=None if enforced == 0 else failures,
            consecutive_5xx_enforced=None if enforced in {0, _PERCENT} else enforced,
        ),
        interval=duration(check, "Interval") or None,
        base_ejection=duration(check, "BaseEjectionTime") or None,
        max_ejection_percent=count(check, "MaxEjectionPercent", _PERCENT),
    )
    check.close()
    return found
