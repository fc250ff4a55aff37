"""Cross-origin answers: the CORS filter and what a route tells it.

The filter stands in a connection manager only if one of its routes has such a policy.  It answers
preflights itself, those of strange origins too (with nothing allowed): the application never
sees one.  It acts on routes that forward, and on no others; a preflight therefore has a route of
its own that seems to forward, so that neither the method, which is not the preflight's own, nor
a share that is refused stands in its way.  On a connection from before the filter came it does
forward: the application goes on answering there.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Final

from envoy.extensions.filters.http.cors.v3 import cors_pb2
from envoy.extensions.filters.network.http_connection_manager.v3 import (
    http_connection_manager_pb2 as hcm_pb2,
)
from google.protobuf import any_pb2

from mesh.envoy.matching import text
from mesh.envoy.proto import typed
from mesh.envoy.rbac import quoted
from mesh.model.intentions import HeaderMatch, HeaderMatchKind
from mesh.model.requests import Match
from mesh.model.traffic import Cors

CORS: Final = "envoy.filters.http.cors"
_PREFLIGHT: Final = "OPTIONS"


def cors_filter() -> Any:
    """Return the filter; without a route's policy it does nothing."""
    return hcm_pb2.HttpFilter(name=CORS, typed_config=typed(cors_pb2.Cors()))


def policy(cors: Cors) -> any_pb2.Any:
    """Return what a route tells the filter."""
    result = cors_pb2.CorsPolicy(
        allow_methods=",".join(cors.methods),
        allow_headers=",".join(cors.headers),
        expose_headers=",".join(cors.expose),
    )
    result.allow_origin_string_match.extend(text("exact", origin) for origin in cors.origins)
    result.allow_origin_string_match.extend(text("regex", regex) for regex in cors.origin_regexes)
    if cors.max_age is not None:
        result.max_age = str(round(cors.max_age))
    if cors.credentials:
        result.allow_credentials.value = True
    result.forward_not_matching_preflights.value = False
    return typed(result)


def preflight(match: Match) -> Match | None:
    """Return what the preflights of requests that match look like; None if there are none.

    A browser asks with OPTIONS for leave to use another method; what is matched by OPTIONS
    alone is nothing that a browser would ask for.
    """
    methods = [method for method in match.methods if method != _PREFLIGHT]
    if match.methods and not methods:
        return None
    asked = "access-control-request-method"
    method = (
        HeaderMatch(asked, HeaderMatchKind.REGEX, "|".join(map(quoted, methods)))
        if methods
        else HeaderMatch(asked, HeaderMatchKind.PRESENT)
    )
    origin = HeaderMatch("origin", HeaderMatchKind.PRESENT)
    return replace(match, methods=(_PREFLIGHT,), headers=(*match.headers, origin, method))
