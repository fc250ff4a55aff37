"""From verdicts to Envoy's response.

Each descriptor's status is filled in whole, because Envoy writes its own ``x-ratelimit-*``
headers from it where a policy asks for them.  The service's headers are those of the IETF draft
"RateLimit header fields for HTTP" in the version that Envoy follows: the limit that has least
left, its remainder and its reset in seconds, and behind the limit every quota with its window.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Final

from envoy.config.core.v3 import base_pb2
from envoy.service.ratelimit.v3 import rls_pb2

from mesh.ratelimit.counting import Verdict
from mesh.ratelimit.requests import Hit

_OK: Final = rls_pb2.RateLimitResponse.OK
_OVER_LIMIT: Final = rls_pb2.RateLimitResponse.OVER_LIMIT

Answered = tuple[Hit, Verdict]
"""A limit, and what it says."""


def response(answered: Sequence[Answered | None], *, headers: bool) -> Any:
    """Build the ``RateLimitResponse``; none stands for a descriptor without a limit."""
    known = [each for each in answered if each is not None]
    refused = any(not verdict.allowed for _, verdict in known)
    built = rls_pb2.RateLimitResponse(overall_code=_OVER_LIMIT if refused else _OK)
    for each in answered:
        built.statuses.append(_status(each))
    if headers and known:
        built.response_headers_to_add.extend(_headers(known))
    return built


def _status(answered: Answered | None) -> Any:
    status = rls_pb2.RateLimitResponse.DescriptorStatus(code=_OK)
    if answered is None:
        return status
    hit, verdict = answered
    if not verdict.allowed:
        status.code = _OVER_LIMIT
    status.current_limit.requests_per_unit = hit.limit
    status.current_limit.unit = hit.unit
    status.limit_remaining = verdict.remaining
    status.duration_until_reset.FromMilliseconds(math.ceil(verdict.reset * 1000))
    return status


def _headers(known: Sequence[Answered]) -> list[Any]:
    scarcest, verdict = min(known, key=lambda each: (each[1].allowed, each[1].remaining))
    quotas = ", ".join(dict.fromkeys(f"{hit.limit};w={hit.window}" for hit, _ in known))
    return [
        base_pb2.HeaderValue(key=key, value=value)
        for key, value in (
            ("RateLimit-Limit", f"{scarcest.limit}, {quotas}"),
            ("RateLimit-Remaining", str(verdict.remaining)),
            ("RateLimit-Reset", str(math.ceil(verdict.reset))),
        )
    ]
