"""Route tables: what becomes of the requests that an application sends to one service.

Each route of the intermediate form becomes one Envoy route, with nothing in it that was not
said.  It becomes more where Envoy needs more: a share of the traffic that may not pass (its
target is refused by intention, or is not there) is answered by a route of its own in front,
which takes just that fraction.  Envoy draws one random number for a request and compares it in
every route, so the fractions in front are cumulative, and the rest is spread evenly over the
targets that remain.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final

from envoy.config.core.v3 import base_pb2
from envoy.config.route.v3 import route_components_pb2, route_pb2
from envoy.type.v3 import percent_pb2

from mesh.envoy import cluster, cors, paths
from mesh.envoy.edits import followed, request_edits, response_edits
from mesh.envoy.matching import route_match
from mesh.envoy.proto import duration
from mesh.envoy.retries import retry_policy
from mesh.model.destinations import HashKind, HashPolicy, Target
from mesh.model.requests import NO_EDITS, Match
from mesh.model.traffic import WHOLE, Forward, Mirror, Redirect, Route, Share

Sentences = Mapping[Target, str]
"""For each target that gets no traffic, why."""

NO_SENTENCES: Final[Sentences] = MappingProxyType({})

_FORBIDDEN: Final = 403
_BROKEN: Final = 500
_LARGEST_BODY: Final = 4096
"""Bytes of a direct response that Envoy takes unless told otherwise."""
_MILLIONTHS_PER_PERCENT: Final = 10_000
_REDIRECTS: Final = {
    301: route_components_pb2.RedirectAction.MOVED_PERMANENTLY,
    302: route_components_pb2.RedirectAction.FOUND,
    303: route_components_pb2.RedirectAction.SEE_OTHER,
    307: route_components_pb2.RedirectAction.TEMPORARY_REDIRECT,
    308: route_components_pb2.RedirectAction.PERMANENT_REDIRECT,
}


def route_table(
    name: str,
    routes: Sequence[Route],
    *,
    refused: Sentences = NO_SENTENCES,
    missing: Sentences = NO_SENTENCES,
) -> route_pb2.RouteConfiguration:
    """Return the route configuration ``name`` with ``routes`` in their order.

    The share of a target in ``refused`` is answered with 403 and the sentence there, that of a
    target in ``missing`` with 500; neither gets a mirrored request.
    """
    config = route_pb2.RouteConfiguration(name=name)
    config.validate_clusters.value = False
    host = config.virtual_hosts.add(name=name, domains=["*"])
    for route in routes:
        host.routes.extend(envoy_routes(route, refused=refused, missing=missing))
    fit_bodies(config)
    return config


def envoy_routes(
    route: Route, *, refused: Sentences = NO_SENTENCES, missing: Sentences = NO_SENTENCES
) -> Iterator[Any]:
    """Yield the Envoy routes of ``route``; see :func:`route_table`."""
    yield from _Builder(route, refused, missing).build()


def fit_bodies(config: route_pb2.RouteConfiguration) -> None:
    """Let ``config`` answer with the longest body that it has."""
    bodies = (
        each.direct_response.body.inline_string
        for host in config.virtual_hosts
        for each in host.routes
    )
    largest = max((len(body.encode()) for body in bodies), default=0)
    if largest > _LARGEST_BODY:
        config.max_direct_response_body_size_bytes.value = largest


def answer(route: Any, status: int, body: str = "") -> None:
    """Let ``route`` (a Route message) answer by itself, in plain text."""
    route.direct_response.status = status
    if body:
        route.direct_response.body.inline_string = body
        route.response_headers_to_add.add(
            header=base_pb2.HeaderValue(key="content-type", value="text/plain; charset=utf-8"),
            append_action=base_pb2.HeaderValueOption.OVERWRITE_IF_EXISTS_OR_ADD,
        )


@dataclass(frozen=True, slots=True)
class _Builder:
    """The Envoy routes of one route."""

    route: Route
    refused: Sentences
    missing: Sentences

    def build(self) -> Iterator[Any]:
        """Yield the routes, those for special cases first."""
        action = self.route.action
        if self.route.cors is not None and (asked := cors.preflight(self.route.match)):
            question = self._route(asked)
            question.route.cluster = self._standing_in()
            self._crossing(question)
            yield question
        if isinstance(action, Forward):
            yield from self._forward(action)
            return
        result = self._route(self.route.match)
        if isinstance(action, Redirect):
            _redirect(result.redirect, action, self.route.match)
        else:
            answer(result, action.status, action.body)
        response_edits(result, self.route.response_headers)
        yield result

    def _route(self, match: Match) -> Any:
        return route_components_pb2.Route(match=route_match(match))

    def _standing_in(self) -> str:
        """Return where preflights go on connections that were made before the filter came."""
        action = self.route.action
        shares = action.shares if isinstance(action, Forward) else ()
        reached = (share.target for share in shares if not self._is_blocked(share.target))
        return next((target.name for target in reached), cluster.NOBODY)

    def _crossing(self, result: Any) -> None:
        if self.route.cors is not None:
            result.typed_per_filter_config[cors.CORS].CopyFrom(cors.policy(self.route.cors))

    def _forward(self, action: Forward) -> Iterator[Any]:
        shares = [share for share in action.shares if share.weight > 0]
        if not shares:
            result = self._route(self.route.match)
            answer(result, _BROKEN, "mesh: the route for this request names no target.\n")
            yield result
            return
        total = sum(share.weight for share in shares)
        taken = 0
        for status, sentences in ((_BROKEN, self.missing), (_FORBIDDEN, self.refused)):
            blocked = [share for share in shares if share.target in sentences]
            if not blocked:
                continue
            shares = [share for share in shares if share.target not in sentences]
            taken += sum(share.weight for share in blocked)
            result = self._route(self.route.match)
            said = dict.fromkeys(sentences[share.target] for share in blocked)
            answer(result, status, "".join(f"{sentence}\n" for sentence in said))
            if taken < total:
                fraction = result.match.runtime_fraction.default_value
                fraction.numerator = taken * WHOLE // total
                fraction.denominator = percent_pb2.FractionalPercent.TEN_THOUSAND
            yield result
        if shares:
            yield self._open(action, shares)

    def _open(self, action: Forward, shares: Sequence[Share]) -> Any:
        """Return the route to the targets that may be reached."""
        route = self.route
        result = self._route(route.match)
        forward = result.route
        self._crossing(result)
        self._clusters(result, shares)
        if action.path is not None:
            paths.rewrite(forward, route.match.path, action.path)
        if action.host:
            forward.host_rewrite_literal = action.host
        # A request may take as long as its caller waits, until somebody says otherwise.
        forward.timeout.CopyFrom(duration(route.timeouts.request or 0))
        if route.timeouts.idle is not None:
            forward.idle_timeout.CopyFrom(duration(route.timeouts.idle))
        if route.retry is not None:
            forward.retry_policy.CopyFrom(retry_policy(route.retry))
        forward.request_mirror_policies.extend(self._mirrors())
        forward.hash_policy.extend(_hash(policy) for policy in route.hashing)
        return result

    def _clusters(self, result: Any, shares: Sequence[Share]) -> None:
        """Send to the targets of ``shares``, with the header edits of the route and of each.

        Envoy would let the route have the last word, so what both say stands with the share.
        """
        is_edited = any(map(_is_edited, shares))
        if len(shares) == 1:
            result.route.cluster = shares[0].target.name
            self._edit(result, shares[0])
            return
        for share in shares:
            each = result.route.weighted_clusters.clusters.add(name=share.target.name)
            each.weight.value = share.weight
            if is_edited:
                self._edit(each, share)
        if not is_edited:
            self._edit(result, shares[0])

    def _edit(self, place: Any, share: Share) -> None:
        request_edits(place, followed(self.route.request_headers, share.request_headers))
        response_edits(place, followed(self.route.response_headers, share.response_headers))

    def _mirrors(self) -> Iterator[Any]:
        for mirror in self.route.mirrors:
            # To Envoy no percentage at all means every request, and so does a numerator of 0.
            if _millionths(mirror) and not self._is_blocked(mirror.target):
                yield _mirror(mirror)

    def _is_blocked(self, target: Target) -> bool:
        return target in self.refused or target in self.missing


def _is_edited(share: Share) -> bool:
    return share.request_headers != NO_EDITS or share.response_headers != NO_EDITS


def _redirect(result: Any, action: Redirect, match: Match) -> None:
    result.response_code = _REDIRECTS[action.status]
    if action.scheme:
        result.scheme_redirect = action.scheme
    if action.host:
        result.host_redirect = action.host
    if action.port:
        result.port_redirect = action.port
    if action.path is not None:
        paths.redirect(result, match.path, action.path)


def _millionths(mirror: Mirror) -> int:
    return round(mirror.percent * _MILLIONTHS_PER_PERCENT)


def _mirror(mirror: Mirror) -> Any:
    # The copy looks like the original: Envoy would say "-shadow" behind the host's name.
    result = route_components_pb2.RouteAction.RequestMirrorPolicy(
        cluster=mirror.target.name, disable_shadow_host_suffix_append=True
    )
    fraction = result.runtime_fraction.default_value
    fraction.numerator = _millionths(mirror)
    fraction.denominator = percent_pb2.FractionalPercent.MILLION
    return result


def _hash(policy: HashPolicy) -> Any:
    result = route_components_pb2.RouteAction.HashPolicy(terminal=policy.terminal)
    if policy.kind is HashKind.HEADER:
        result.header.header_name = policy.name
    elif policy.kind is HashKind.QUERY:
        result.query_parameter.name = policy.name
    elif policy.kind is HashKind.SOURCE_IP:
        result.connection_properties.source_ip = True
    else:
        result.cookie.name = policy.name
        result.cookie.path = policy.path
        if policy.ttl is not None:
            result.cookie.ttl.CopyFrom(duration(policy.ttl))
    return result
