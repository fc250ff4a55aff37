"""The inbound side: who may come in, what happens to a call, and the way to the application.

Two gates.  The handshake admits only callers that some call could be allowed (see
``policies.intentions.peers``).  Behind it stand the intentions as Envoy RBAC: a network filter
where connections are all there is to judge, an HTTP filter where a request's content decides.
Then come the filters that inbound policies ask for.  Everything an intention or a policy can
change arrives as a resource of its own (a secret, an extension configuration, routes), which
takes effect without draining a connection; the listener itself changes only when a filter
becomes necessary or ceases to be.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlsplit

from mesh.envoy import cluster, connections, http, inbound_http, inbound_listener, listener, tls
from mesh.envoy.filters.tokens import LACKING, kept, named_providers
from mesh.envoy.listener import extension
from mesh.envoy.resource import TYPE_PREFIX, Resource, pack
from mesh.model.inbound import InboundTraffic, TlsMode
from mesh.model.intentions import JwtProvider
from mesh.model.names import WILDCARD
from mesh.model.proxies import Inbound as Place
from mesh.policies.intentions.compile import Authorization, Scope, authorize
from mesh.policies.intentions.matching import Call
from mesh.policies.intentions.peers import Callers, admitted
from mesh.policies.intentions.verdict import judge
from mesh.render.parts import Part, Same
from mesh.world.facets import Aspect, Facet
from mesh.world.snapshot import World

_NAME: Final = "inbound"
_APPLICATION: Final = "local:app"
_PEERS: Final = "inbound-peers"
_JWT: Final = "inbound-jwt"
_CONNECTIONS: Final = "inbound-connections"
_REQUESTS: Final = "inbound-requests"
"""The two RBAC filters have names of their own: an old filter chain that still drains follows its
name, and would refuse the other kind's configuration."""
_HTTPS_PORT: Final = 443
_HTTP_PORT: Final = 80

Named = tuple[str, Any]
"""A filter's name, and its configuration (a protobuf message)."""


@dataclass(frozen=True, slots=True)
class Inbound(Part):
    """The mesh's way into one service at one place."""

    service: str
    place: Place
    traffic: Same[InboundTraffic]

    def reads(self) -> tuple[Facet, ...]:
        """Everything that intentions to the service are made of."""
        return (
            Facet(Aspect.INTENTIONS, self.service),
            Facet(Aspect.INTENTIONS, WILDCARD),
            Facet(Aspect.DEFAULT_POLICY),
            Facet(Aspect.ENTRIES, self.service),
            Facet(Aspect.PROXY_DEFAULTS),
            Facet(Aspect.JWT_PROVIDERS),
            Facet(Aspect.ZONES),
        )

    def render(self, world: World) -> tuple[Resource, ...]:
        """Return the listener, the application's cluster, the secret, filters and routes."""
        return _Rendering(world, self.service, self.place, self.traffic.value).resources()


class _Rendering:
    """One rendering of the inbound side of ``service``."""

    def __init__(self, world: World, service: str, place: Place, traffic: InboundTraffic) -> None:
        self.world, self.service, self.place, self.traffic = world, service, place, traffic
        self.protocol = world.protocol(service)
        scope = Scope(
            trust_domain=world.trust_domain,
            protocol=self.protocol,
            default_allow=world.default_allow,
            providers=world.jwt_providers,
            jwks_cluster=key_set_cluster,
            peers={zone.name: zone.trust_domain for zone in world.peers.values()},
        )
        self.rules = authorize(world.intentions, service, scope)
        self.connections = tuple(connections.filters(traffic))
        self.filters = inbound_http.filters(
            traffic.routes, providers=world.jwt_providers, jwks_cluster=key_set_cluster
        )

    def resources(self) -> tuple[Resource, ...]:
        world, protocol = self.world, self.protocol
        peers = tls.peers(
            _PEERS,
            identity_regex=self._admitted().identity_regex(world.trust_domain),
            trust_domain=world.trust_domain,
            others=self._foreign(),
        )
        application = cluster.of_address(
            _APPLICATION,
            address=self.place.local_address,
            port=self.place.local_port,
            protocol=protocol,
            connect_timeout=self.traffic.connect_timeout,
            limits=self.traffic.limits,
        )
        configured = (*self.connections, *self._gates(), *self.filters)
        return (
            pack(_NAME, self._listener()),
            pack(_APPLICATION, application),
            pack(_PEERS, peers),
            *(pack(name, extension(name, config)) for name, config in configured),
            *self._routes(),
            *self._key_sets(),
        )

    def _admitted(self, peer: str = "") -> Callers:
        world, allow = self.world, self.world.default_allow
        return admitted(
            world.intentions, self.service, self.protocol, default_allow=allow, peer=peer
        )

    def _foreign(self) -> dict[str, tuple[str, str]]:
        """Return, by trust domain, whom to believe and whom to admit of each peer."""
        return {
            zone.trust_domain: (
                zone.bundle,
                self._admitted(zone.name).identity_regex(zone.trust_domain, zone.name),
            )
            for zone in self.world.peers.values()
        }

    def _gates(self) -> Iterator[Named]:
        """Yield the filters of the intentions, in the order in which they stand."""
        rules = self.rules
        if rules.network is not None:
            yield _CONNECTIONS, rules.network
        if rules.jwt is not None:
            yield _JWT, kept(rules.jwt, self.traffic.routes)
        if rules.http is not None:
            yield _REQUESTS, rules.http

    def _routes(self) -> Iterator[Resource]:
        if self.traffic.routes:
            table = inbound_http.route_table(
                _NAME,
                self.traffic.routes,
                cluster=_APPLICATION,
                trust_domain=self.world.trust_domain,
                providers=self.world.jwt_providers,
            )
            yield pack(_NAME, table)

    def _listener(self) -> Any:
        transport = tls.downstream(
            peers_secret=_PEERS, alpn=("h2", "http/1.1") if self.protocol.is_http else ()
        )
        if self.traffic.mode is TlsMode.PERMISSIVE:
            return inbound_listener.permissive(
                _NAME,
                address=self.place.address,
                port=self.place.port,
                filters=self._chain(self.rules),
                plain_filters=self._plain_chain(),
                transport=transport,
            )
        return listener.listener(
            _NAME,
            address=self.place.address,
            port=self.place.port,
            filters=self._chain(self.rules),
            direction=listener.TrafficDirection.INBOUND,
            transport=transport,
        )

    def _chain(self, rules: Authorization, *, plain: bool = False) -> list[Any]:
        """Return the network filters in front of the application."""
        before = [*self.connections]
        if rules.network is not None:
            before.append((_CONNECTIONS, rules.network))
        chain = [listener.discovered_filter(name, _type_url(config)) for name, config in before]
        # Whoever comes in plain text could say that he is somebody: the manager drops such headers.
        parsed = plain and self.protocol.is_http
        if rules.http is None and not self.traffic.routes and not parsed:
            forward = listener.tcp_proxy(
                _NAME,
                _APPLICATION,
                after_handshake=not plain,
                idle_timeout=self.traffic.idle_timeout or 0,
            )
            return [*chain, forward]
        gates = [] if plain else [each for each in self._gates() if each[0] != _CONNECTIONS]
        return [*chain, self._manager(_typed(gates))]

    def _manager(self, gates: list[tuple[str, str]]) -> Any:
        refusal = (
            "mesh: %DOWNSTREAM_PEER_URI_SAN% may not %REQ(:METHOD)% %REQ(:PATH)% "
            f"on {self.service} in zone {self.world.zone}: no intention allows this request.\n"
        )
        if not self.traffic.routes:
            return http.inbound_manager(_NAME, cluster=_APPLICATION, filters=gates, refusal=refusal)
        lacking = (
            "mesh: the token lacks a claim that %REQ(:METHOD)% %REQ(:PATH)% needs "
            f"on {self.service} in zone {self.world.zone}.\n"
        )
        return http.inbound_manager_by_routes(
            _NAME,
            gates=gates,
            filters=_typed(self.filters),
            refusals=[
                (f"rbac_access_denied_matched_policy[{LACKING}]", lacking),
                ("rbac_access_denied", refusal),
            ],
            told=self._told(),
            idle_timeout=self.traffic.idle_timeout,
        )

    def _told(self) -> list[str]:
        """Return the headers by which the filters tell the application what they found."""
        routes, providers = self.traffic.routes, self.world.jwt_providers
        named = [providers[name] for name in named_providers(routes) if name in providers]
        found = {provider.forward_header for provider in named}
        for route in routes:
            if route.authorization is not None:
                found.update(map(str.lower, route.authorization.upstream_headers))
        return sorted(found - {""})

    def _plain_chain(self) -> list[Any]:
        """Return the filters for a caller in plain text: nobody in particular.

        What intentions allow anybody, he may do as well; where it depends on who asks, or on
        what, there is nothing to go by.
        """
        world = self.world
        call = Call("", self.service, self.protocol)
        verdict = judge(world.intentions, call, default_allow=world.default_allow)
        if verdict.allowed and not verdict.conditional:
            return self._chain(Authorization(), plain=True)
        line = (
            "[%START_TIME%] refused: mesh: a caller without a certificate may not call "
            f"{self.service} in zone {world.zone}: no intention allows everybody\n"
        )
        return [listener.tcp_proxy(_NAME, cluster.NOBODY, log_format=line)]

    def _key_sets(self) -> Iterator[Resource]:
        names = set(self.rules.jwt.providers) if self.rules.jwt is not None else set()
        return key_sets(self.world, names | set(named_providers(self.traffic.routes)))


def key_sets(world: World, providers: Iterable[str]) -> Iterator[Resource]:
    """Yield the clusters from which the remote key sets of ``providers`` are fetched."""
    for name in sorted(providers):
        provider = world.jwt_providers.get(name)
        if provider is not None and provider.remote_uri:
            place = urlsplit(provider.remote_uri)
            secure = place.scheme == "https"
            built = cluster.of_host(
                key_set_cluster(provider),
                host=place.hostname or "",
                port=place.port or (_HTTPS_PORT if secure else _HTTP_PORT),
                secure=secure,
            )
            yield pack(built.name, built)


def _typed(filters: Iterable[Named]) -> list[tuple[str, str]]:
    return [(name, _type_url(config)) for name, config in filters]


def key_set_cluster(provider: JwtProvider) -> str:
    """Return the name of the cluster from which the key set of ``provider`` is fetched."""
    return f"jwks:{provider.name}"


def _type_url(config: Any) -> str:
    return TYPE_PREFIX + str(config.DESCRIPTOR.full_name)
