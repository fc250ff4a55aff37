"""When a request is tried again: Envoy's retry policy of a route."""

from __future__ import annotations

from typing import Any, Final

from envoy.config.route.v3 import route_components_pb2
from envoy.extensions.retry.host.previous_hosts.v3 import previous_hosts_pb2
from envoy.extensions.retry.priority.previous_priorities.v3 import (
    previous_priorities_config_pb2 as previous_priorities_pb2,
)

from mesh.envoy.matching import by_methods
from mesh.envoy.proto import duration, typed
from mesh.model.traffic import Retry

_STATUSES: Final = "retriable-status-codes"
_BACKOFF_BASE: Final = 0.025
"""Seconds; Envoy's own, which must be said once the maximum is."""
_TRIES_OF_EACH: Final = 2
"""How often it is tried where calls go first before those are asked that it fails over to."""
_OTHER_HOST_CHOICES: Final = 5
"""How often the load balancer is asked again for an instance that was not tried yet."""


def retry_policy(retry: Retry) -> Any:
    """Return the RetryPolicy of ``retry``."""
    conditions = dict.fromkeys((*retry.on, *([_STATUSES] if retry.statuses else [])))
    result = route_components_pb2.RetryPolicy(
        retry_on=",".join(conditions), retriable_status_codes=retry.statuses
    )
    result.num_retries.value = retry.attempts
    if retry.per_try is not None:
        result.per_try_timeout.CopyFrom(duration(retry.per_try))
    if retry.methods:
        result.retriable_request_headers.append(by_methods(retry.methods))
    _back_off(result, retry)
    if retry.other_hosts:
        result.retry_host_predicate.add(
            name="envoy.retry_host_predicates.previous_hosts",
            typed_config=typed(previous_hosts_pb2.PreviousHostsPredicate()),
        )
        result.host_selection_retry_max_attempts = _OTHER_HOST_CHOICES
    if retry.fails_over:
        result.retry_priority.name = "envoy.retry_priorities.previous_priorities"
        result.retry_priority.typed_config.CopyFrom(
            typed(previous_priorities_pb2.PreviousPrioritiesConfig(update_frequency=_TRIES_OF_EACH))
        )
    return result


def _back_off(policy: Any, retry: Retry) -> None:
    if retry.backoff_base is None and retry.backoff_max is None:
        return
    base, limit = retry.backoff_base, retry.backoff_max
    if base is None:
        base = _BACKOFF_BASE if limit is None else min(_BACKOFF_BASE, limit)
    policy.retry_back_off.base_interval.CopyFrom(duration(base))
    if limit is not None:
        policy.retry_back_off.max_interval.CopyFrom(duration(max(limit, base)))
