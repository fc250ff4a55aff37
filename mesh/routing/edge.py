"""What an edge gateway serves: its ingress-gateway entry, and policies over it, port by port.

Of a port the most specific MeshGateway holds.  What it leaves open the entry of the gateway's name
says: which services there are.  What becomes of a request for a service is composed as it is for
any caller; here it is only narrowed to what the listener sends there.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Final

from mesh.envoy.edits import followed
from mesh.model.edge import EVERY_SERVICE, Edge, EdgeListener, Exposed, default_host
from mesh.model.proxies import GATEWAYS
from mesh.model.requests import Match, PathKind, PathMatch
from mesh.model.traffic import Forward, Redirect, RewriteKind, Route
from mesh.policies.kinds import gateway
from mesh.policies.selection import Selection
from mesh.routing.conjunction import as_header, both
from mesh.world.snapshot import World

ENTRY: Final = "ingress-gateway"


def served(world: World, said: Selection, name: str) -> Edge:
    """Return what gateways called ``name``, whom the policies ``said`` concern, serve."""
    entry = world.entries.edges.get(name)
    by_port: dict[int, EdgeListener] = {}
    for listener in entry.listeners if entry is not None else ():
        by_port[listener.port] = replace(listener, origins=(f"{ENTRY} {name}",))
    for document in said.of(gateway.KIND.name):
        for listener in gateway.listeners(document):
            by_port[listener.port] = _over(by_port.get(listener.port), listener)
    listeners = (by_port[port] for port in sorted(by_port))
    return Edge(name, tuple(_expanded(world, listener) for listener in listeners))


def services(edge: Edge) -> tuple[str, ...]:
    """Return the services that ``edge`` serves, each once."""
    return tuple(sorted({one.service for listener in edge.listeners for one in listener.services}))


def narrowed(route: Route, exposed: Exposed) -> Route | None:
    """Return ``route`` for what ``exposed`` sends its way; None if nothing of it is.

    The service's own routes see the path as the client sent it.
    """
    if exposed.path:
        own = PathMatch(PathKind.SEGMENTS, exposed.path)
        if _replaces_prefix(route):
            # What is replaced is the prefix that the route itself asks for.
            headers = (*route.match.headers, as_header(own))
            match: Match | None = replace(route.match, headers=headers)
        else:
            match = both(Match(path=own), route.match)
        if match is None:
            return None
        route = replace(route, match=match)
    return replace(
        route,
        request_headers=followed(exposed.request_headers, route.request_headers),
        response_headers=followed(exposed.response_headers, route.response_headers),
    )


def _replaces_prefix(route: Route) -> bool:
    action = route.action
    if not isinstance(action, Forward | Redirect) or action.path is None:
        return False
    return action.path.kind is RewriteKind.PREFIX


def _over(before: EdgeListener | None, listener: EdgeListener) -> EdgeListener:
    if before is None:
        return listener
    origins = (*before.origins, *listener.origins)
    silent = not listener.services and not listener.https_port
    if silent and before.protocol.is_http is listener.protocol.is_http:
        listener = replace(listener, services=before.services)
    return replace(listener, origins=origins)


def _expanded(world: World, listener: EdgeListener) -> EdgeListener:
    """Put every service that speaks HTTP in the place of the wildcard."""
    if not any(one.service == EVERY_SERVICE for one in listener.services):
        return listener
    named = {one.service for one in listener.services}
    found = tuple(
        each
        for one in listener.services
        for each in (_each(world, one, named) if one.service == EVERY_SERVICE else iter((one,)))
    )
    return replace(listener, services=found)


def _each(world: World, wildcard: Exposed, without: set[str]) -> Iterator[Exposed]:
    gateways = {*GATEWAYS.values(), *world.entries.edges}
    for service in sorted(world.catalog - without - gateways):
        if world.protocol(service).is_http:
            yield replace(wildcard, service=service, hosts=(default_host(service),))
