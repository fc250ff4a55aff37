"""Inbound traffic for the tests: each name is a listener's."""

from __future__ import annotations

from typing import Any, Final

from mesh.model.destinations import Limits
from mesh.model.inbound import (
    Abort,
    Delay,
    ExternalAuthorization,
    FailureMode,
    Fault,
    GlobalLimit,
    InboundRoute,
    InboundTraffic,
    LocalLimit,
    TlsMode,
    TokenBucket,
    TokenRule,
)
from mesh.model.requests import (
    CallerMatch,
    HeaderEdits,
    Match,
    PathKind,
    PathMatch,
    Timeouts,
)
from mesh.model.services import Protocol
from tests.envoy.callee import GONE

_TWO: Final = TokenBucket(tokens=2, interval=1000)
_GRPC_AUTHZ: Final = ExternalAuthorization("grpc", timeout=5, max_body=5)
_HTTP_AUTHZ: Final = ExternalAuthorization(
    "authz",
    Protocol.HTTP,
    path_prefix="/check",
    request_headers=("x-pass",),
    upstream_headers=("x-user",),
    timeout=5,
)


def _at(path: str, **what: Any) -> InboundRoute:
    return InboundRoute(match=Match(path=PathMatch(PathKind.PREFIX, path)), **what)


def _of(*routes: InboundRoute, **more: Any) -> InboundTraffic:
    """Return traffic with ``routes``, and nothing in particular for the rest."""
    return InboundTraffic(routes=(*routes, InboundRoute()), **more)


def _global(limit: int, *descriptor: tuple[str, str], **more: Any) -> GlobalLimit:
    return GlobalLimit("grpc", "api", (("policy", "p"), *descriptor), limit, "hour", **more)


_GONE_LIMIT: Final = GlobalLimit(GONE, "api", (("policy", "p"),), 1, "second", timeout=5)

TRAFFIC: Final[dict[str, InboundTraffic]] = {
    "local": _of(
        _at(
            "/shared",
            limit=LocalLimit(
                _TWO,
                response_headers=HeaderEdits(
                    set=(("x-limit", "local"),), add=(("x-for", "100%%"),)
                ),
            ),
        ),
        _at("/each", limit=LocalLimit(_TWO, per_caller=True)),
        _at("/grpc", limit=LocalLimit(TokenBucket(1, 1000))),
        _at("/burst", limit=LocalLimit(TokenBucket(1, 1000, burst=3), status=503)),
    ),
    "fault": _of(
        _at("/abort/100", fault=Fault(abort=Abort(100, 418))),
        _at("/abort/0", fault=Fault(abort=Abort(0, 418))),
        _at("/abort/50", fault=Fault(abort=Abort(50, 418))),
        _at("/abort/grpc", fault=Fault(abort=Abort(100, grpc_status=14))),
        _at("/delay/100", fault=Fault(delay=Delay(100, 0.6))),
        _at("/delay/0", fault=Fault(delay=Delay(0, 30))),
        _at("/bytes/32768", fault=Fault(bandwidth=32)),
        _at("/bytes/32767", fault=Fault(bandwidth=1, bandwidth_percent=0)),
    ),
    "callers": _of(
        InboundRoute(
            match=Match(callers=(CallerMatch("web"), CallerMatch("batch", "dc2"))),
            fault=Fault(abort=Abort(100, 418)),
        ),
    ),
    "timeouts": _of(
        InboundRoute(
            match=Match(path=PathMatch(PathKind.EXACT, "/hang"), methods=("GET",)),
            timeouts=Timeouts(request=0.2),
        ),
        _at("/hang", timeouts=Timeouts(idle=0.2)),
    ),
    "tokens": _of(
        _at("/required", token=TokenRule(("okta", "corp"))),
        _at("/optional", token=TokenRule(("okta",), optional=True)),
        _at("/claims", token=TokenRule(("okta", "corp"), claims=((("perms", "role"), "admin"),))),
        _at("/both", token=TokenRule(("okta",), claims=((("team",), "a"),), optional=True)),
        _at("/unknown", token=TokenRule(("nobody",))),
    ),
    "behind": _of(_at("/", token=TokenRule(("okta",)))),
    "authorized": _of(
        _at("/grpc", authorization=_GRPC_AUTHZ),
        _at("/http", authorization=_HTTP_AUTHZ),
        _at("/open", authorization=ExternalAuthorization(GONE, failure=FailureMode.OPEN)),
        _at("/closed", authorization=ExternalAuthorization(GONE)),
    ),
    "global": _of(
        _at("/two", global_limits=(_global(2, timeout=5),)),
        _at("/user", global_limits=(_global(1, ("user", "%REQ(X-User)%"), timeout=5),)),
        _at(
            "/text",
            global_limits=(
                _global(
                    9, ("path", "at %REQ(:PATH)%"), ("who", "%DOWNSTREAM_PEER_URI_SAN%"), timeout=5
                ),
                _global(7, ("absent", "%REQ(x-absent?x-other)%"), timeout=5),
            ),
        ),
        _at("/gone/closed", global_limits=(_GONE_LIMIT,)),
        _at(
            "/gone/open",
            global_limits=(
                GlobalLimit(GONE, "api", (("a", "b"),), 1, "second", FailureMode.OPEN, 5),
            ),
        ),
    ),
    "plain": _of(
        InboundRoute(
            match=Match(callers=(CallerMatch("web"),)), fault=Fault(abort=Abort(100, 418))
        ),
        _at("/each", limit=LocalLimit(_TWO, per_caller=True)),
        mode=TlsMode.PERMISSIVE,
    ),
    "plain-tcp": InboundTraffic(mode=TlsMode.PERMISSIVE),
    "one-at-once": InboundTraffic(limits=Limits(connections=1)),
    "one-new": InboundTraffic(connection_rate=TokenBucket(1, 1000)),
}
