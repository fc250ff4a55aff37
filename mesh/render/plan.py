"""Which parts a proxy has, from what it needs and what it may call.

An upstream whose instances are not known yet is left out altogether.  Such a plan is not
complete: whoever pushes waits until it is, because to a proxy that comes back, what is left out
would read as removed.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from mesh.model.names import WILDCARD
from mesh.model.proxies import ProxyNeed, Upstream
from mesh.policies.intentions.matching import Call
from mesh.policies.intentions.verdict import can_connect, judge
from mesh.render.inbound import Inbound
from mesh.render.outbound import (
    Cluster,
    Endpoints,
    HttpListener,
    RefusingRoute,
    RefusingTcpListener,
    Route,
    TcpListener,
)
from mesh.render.parts import Part
from mesh.world.facets import Aspect, Facet
from mesh.world.snapshot import World


@dataclass(frozen=True, slots=True)
class Plan:
    """The parts of one proxy, each once, and the facets that the choice of them read."""

    parts: tuple[Part, ...]
    reads: frozenset[Facet]


def plan(world: World, need: ProxyNeed) -> Plan:
    """Choose the parts for ``need``."""
    parts: dict[Part, None] = {}
    reads = {Facet(Aspect.PROXY_DEFAULTS)}
    if need.inbound is not None:
        parts[Inbound(need.service, need.inbound)] = None
    for upstream in need.upstreams:
        service = upstream.service
        reads.update(
            (
                Facet(Aspect.KNOWN, service),
                Facet(Aspect.PROTOCOL, service),
                Facet(Aspect.INTENTIONS, service),
                Facet(Aspect.INTENTIONS, WILDCARD),
                Facet(Aspect.DEFAULT_POLICY),
            )
        )
        if service in world.instances:
            parts.update(dict.fromkeys(_outbound(world, need.service, upstream)))
    return Plan(tuple(parts), frozenset(reads))


def services_of(need: ProxyNeed) -> frozenset[str]:
    """Return the services whose instances ``need`` depends on, allowed or not.

    A service that may not be called is watched too, so that an intention that allows it takes
    effect with its endpoints already known.
    """
    return frozenset(upstream.service for upstream in need.upstreams)


def _outbound(world: World, caller: str, upstream: Upstream) -> Iterator[Part]:
    service = upstream.service
    protocol = world.protocol(service)
    allowed = can_connect(
        world.intentions, caller, service, protocol, default_allow=world.default_allow
    )
    if protocol.is_http:
        yield HttpListener(upstream)
        if not allowed:
            yield RefusingRoute(service, _refusal(world, caller, service))
            return
        yield Route(service)
    elif not allowed:
        yield RefusingTcpListener(upstream, _refusal(world, caller, service))
        return
    else:
        yield TcpListener(upstream)
    yield Cluster(service, protocol)
    yield Endpoints(service)


def _refusal(world: World, caller: str, service: str) -> str:
    call = Call(caller, service, world.protocol(service))
    verdict = judge(world.intentions, call, default_allow=world.default_allow)
    return (
        f"mesh: {caller} may not call {service} in zone {world.zone}: {verdict.reason}. "
        f"To allow it: mesh intention allow {caller} {service}"
    )
