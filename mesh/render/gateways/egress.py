"""An egress gateway: lets calls out of the zone, where somebody said that they leave by it.

*To other zones.*  The name (SNI) is that of a service of another zone, and the cluster that leads
to that zone's gateways is called so.  Nothing is decrypted: caller and callee authenticate each
other through two gateways, of which neither has a certificate that they would take.

*To external services.*  The caller's mutual TLS ends here, at the gateway's own identity.  The
handshake admits only callers that some call could be allowed; behind it stand the intentions to
the service, as at a sidecar (:mod:`mesh.render.inbound`): on connections where that is all there
is to judge, on requests where an intention speaks of them.  What may pass goes out in plain text
or by TLS that this gateway begins.

What an intention changes is a secret or a filter of its own, and drains nobody.  Each service has
a filter chain of its own, and drains nobody else's when it comes or goes.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from mesh.envoy import by_name, endpoint, http, listener, tls
from mesh.envoy import egress as envoy
from mesh.envoy.proto import is_ip
from mesh.envoy.resource import TYPE_PREFIX, Resource, pack
from mesh.model.destinations import Selection, Target
from mesh.model.names import OUTSIDE, WILDCARD
from mesh.model.proxies import Inbound as Place
from mesh.model.proxies import ProxyNeed
from mesh.policies.intentions.compile import Authorization, Scope, authorize
from mesh.policies.intentions.peers import admitted
from mesh.render.inbound import key_set_cluster, key_sets
from mesh.render.parts import Part
from mesh.routing.egress import Leaving, all_leaving, found_outside, leaving, ways
from mesh.routing.instances import gateways
from mesh.world.facets import Aspect, Facet
from mesh.world.snapshot import World

_CONNECTIONS = "connections"
_JWT = "jwt"
_REQUESTS = "requests"


@dataclass(frozen=True, slots=True)
class EgressListener(Part):
    """Where calls on their way out arrive; ``services`` are the external ones."""

    place: Place
    zones: tuple[str, ...]
    services: tuple[str, ...]

    def reads(self) -> tuple[Facet, ...]:
        """Whom to reach, and of what kind the filters are that judge."""
        return (
            Facet(Aspect.ZONES),
            *(facet for service in self.services for facet in _judged_by(service)),
        )

    def render(self, world: World) -> tuple[Resource, ...]:
        """Return the listener."""
        # Envoy takes no listener that has one name twice: the first can be asked for.
        doors: dict[str, envoy.Door] = {}
        for service in self.services:
            for door in _doors(world, service):
                doors.setdefault(door.server_name, door)
        built = envoy.egress_listener(
            self.place.address,
            self.place.port,
            zone=world.zone,
            zones=[
                (name, world.zones[name].trust_domain) for name in self.zones if name in world.zones
            ],
            doors=doors.values(),
        )
        return (pack(built.name, built),)


@dataclass(frozen=True, slots=True)
class Gate(Part):
    """Who may call an external service."""

    service: str

    def reads(self) -> tuple[Facet, ...]:
        """Everything that intentions to it are made of."""
        return _judged_by(self.service)

    def render(self, world: World) -> tuple[Resource, ...]:
        """Return the secret, the filters, and where key sets are fetched."""
        one = leaving(world, self.service)
        if one is None:
            return ()
        callers = admitted(
            world.intentions, one.service, one.protocol, default_allow=world.default_allow
        )
        peers = tls.peers(
            _peers(one.service), identity_regex=callers.identity_regex(world.trust_domain)
        )
        rules = _rules(world, one)
        filters = [
            (_filter(one.service, _CONNECTIONS), rules.network),
            (_filter(one.service, _JWT), rules.jwt),
            (_filter(one.service, _REQUESTS), rules.http),
        ]
        return (
            pack(peers.name, peers),
            *(
                pack(name, listener.extension(name, config))
                for name, config in filters
                if config is not None
            ),
            *(key_sets(world, rules.jwt.providers) if rules.jwt is not None else ()),
        )


@dataclass(frozen=True, slots=True)
class Hosts(Part):
    """An external service, or a subset of it, as it is reached from here."""

    selection: Selection
    linked: bool

    def reads(self) -> tuple[Facet, ...]:
        """What it is, and where the catalog has it."""
        service = self.selection.target.service
        found = [
            Facet(Aspect.ENTRIES, service),
            Facet(Aspect.POLICIES_TO, service),
            Facet(Aspect.PROXY_DEFAULTS),
        ]
        if self.linked:
            found.append(Facet(Aspect.INSTANCES, f"{OUTSIDE}{service}"))
        return tuple(found)

    def render(self, world: World) -> tuple[Resource, ...]:
        """Return the cluster, its endpoints if they come and go, and secrets from files."""
        one = leaving(world, self.selection.target.service)
        if one is None:
            return ()
        name = _cluster(self.selection.target)
        external, instances = found_outside(world, one, self.selection)
        discovered = one.linked and all(is_ip(host.address) for host in external.hosts)
        built = envoy.outside(name, external, one.protocol, discovered=discovered)
        endpoints = [endpoint.assignment(name, instances)] if discovered else []
        secrets = []
        if external.ca_file:
            secrets.append(tls.authority_of(external.ca_file))
        if external.certificate is not None:
            secrets.append(tls.certificate_of(*external.certificate))
        return (
            pack(name, built),
            *(pack(name, one) for one in endpoints),
            *(pack(secret.name, secret) for secret in secrets),
        )


@dataclass(frozen=True, slots=True)
class Beyond(Part):
    """The way to a service, or to a subset of it, in another zone."""

    target: Target

    def reads(self) -> tuple[Facet, ...]:
        """Where that zone lets calls in, and whether anybody answers behind."""
        return (
            Facet(Aspect.ZONES),
            Facet(Aspect.GATEWAYS, self.target.zone),
            Facet(Aspect.ANSWERING, self.target.service),
        )

    def render(self, world: World) -> tuple[Resource, ...]:
        """Return the cluster and its endpoints."""
        name = _asked(world, self.target)
        found = endpoint.assignment(name, gateways(world, self.target))
        return (pack(name, envoy.beyond(name)), pack(name, found))


def egress(world: World, need: ProxyNeed) -> tuple[tuple[Part, ...], frozenset[str]]:
    """Choose the parts of an egress gateway, and say whose instances they need."""
    if need.inbound is None:
        return (), frozenset()
    found = all_leaving(world)
    parts: list[Part] = []
    for one in found:
        parts.append(Gate(one.service))
        parts += [Hosts(way, one.linked) for way in ways(world, one)]
    elsewhere: dict[str, Beyond] = {}
    for target in _elsewhere(world):
        elsewhere.setdefault(_asked(world, target), Beyond(target))
    parts += elsewhere.values()
    zones, services = tuple(sorted(world.zones)), tuple(one.service for one in found)
    parts.append(EgressListener(need.inbound, zones, services))
    return tuple(parts), frozenset(f"{OUTSIDE}{one.service}" for one in found if one.linked)


def _elsewhere(world: World) -> Iterator[Target]:
    for name, zone in sorted(world.zones.items()):
        for service, exported in sorted(zone.services.items()):
            yield Target(service, zone=name)
            yield from (Target(service, subset, name) for subset in sorted(exported.subsets))


def _asked(world: World, target: Target) -> str:
    return by_name.asked(world.identity(target.service, target.zone), target.subset)


def _judged_by(service: str) -> tuple[Facet, ...]:
    return (
        Facet(Aspect.INTENTIONS, service),
        Facet(Aspect.INTENTIONS, WILDCARD),
        Facet(Aspect.DEFAULT_POLICY),
        Facet(Aspect.ENTRIES, service),
        Facet(Aspect.POLICIES_TO, service),
        Facet(Aspect.PROXY_DEFAULTS),
        Facet(Aspect.JWT_PROVIDERS),
    )


def _rules(world: World, one: Leaving) -> Authorization:
    scope = Scope(
        trust_domain=world.trust_domain,
        protocol=one.protocol,
        default_allow=world.default_allow,
        providers=world.jwt_providers,
        jwks_cluster=key_set_cluster,
    )
    return authorize(world.intentions, one.service, scope)


def _doors(world: World, service: str) -> Iterator[envoy.Door]:
    one = leaving(world, service)
    if one is None:
        return
    rules = _rules(world, one)
    transport = tls.downstream(
        peers_secret=_peers(service), alpn=("h2", "http/1.1") if one.protocol.is_http else ()
    )
    for way in ways(world, one):
        filters = tuple(_chain(world, one, rules, way))
        yield envoy.Door(_asked(world, way.target), filters, transport)


def _chain(world: World, one: Leaving, rules: Authorization, way: Selection) -> Iterator[Any]:
    name, service = _cluster(way.target), one.service
    if rules.network is not None:
        yield listener.discovered_filter(_filter(service, _CONNECTIONS), _type_url(rules.network))
        yield envoy.forward(name, service)
        return
    gates = [
        (_filter(service, kind), _type_url(config))
        for kind, config in ((_JWT, rules.jwt), (_REQUESTS, rules.http))
        if config is not None
    ]
    refusal = (
        "mesh: %DOWNSTREAM_PEER_URI_SAN% may not %REQ(:METHOD)% %REQ(:PATH)% "
        f"on {service}, outside of zone {world.zone}: no intention allows this request.\n"
    )
    yield http.inbound_manager(
        name, cluster=name, filters=gates, refusal=refusal, tells_caller=False
    )


def _peers(service: str) -> str:
    return f"egress-peers:{service}"


def _filter(service: str, kind: str) -> str:
    return f"egress-{kind}:{service}"


def _cluster(target: Target) -> str:
    return f"{OUTSIDE}{target.name}"


def _type_url(config: Any) -> str:
    return TYPE_PREFIX + str(config.DESCRIPTOR.full_name)
