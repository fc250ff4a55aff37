"""Which parts a proxy has, from what it needs and what it may call.

An upstream whose instances are not known yet is left out altogether.  Such a plan is not
complete: whoever pushes waits until it is, because to a proxy that comes back, what is left out
would read as removed.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

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

Plan = tuple[Part, ...]
"""The parts of one proxy, each once."""

EVERY_PLAN: Final = frozenset(
    {
        Facet(Aspect.PROXY_DEFAULTS),
        Facet(Aspect.DEFAULT_POLICY),
        Facet(Aspect.INTENTIONS, WILDCARD),
    }
)
"""Facets that the plan of any proxy with an upstream may turn on."""
UPSTREAM_ASPECTS: Final = frozenset({Aspect.KNOWN, Aspect.PROTOCOL, Aspect.INTENTIONS})
"""What, of an upstream, the plans of its callers turn on."""


def plan(world: World, need: ProxyNeed) -> Plan:
    """Choose the parts for ``need``.

    The choice looks at :data:`EVERY_PLAN` and at the :data:`UPSTREAM_ASPECTS` of
    :func:`services_of` the need, and at nothing else.
    """
    parts: dict[Part, None] = {}
    if need.inbound is not None:
        parts[Inbound(need.service, need.inbound)] = None
    for upstream in need.upstreams:
        if upstream.service in world.instances:
            parts.update(dict.fromkeys(_outbound(world, need.service, upstream)))
    return tuple(parts)


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
