"""The inbound side: who may come in, and the way to the application.

Two gates.  The handshake admits only callers that some call could be allowed (see
``policies.intentions.peers``).  Behind it stand the intentions as Envoy RBAC: a network filter
where connections are all there is to judge, an HTTP filter where a request's content decides.
Everything an intention can change arrives as a resource of its own (a secret, or an extension
configuration), which takes effect without draining a connection; the listener itself changes
only when HTTP becomes necessary or ceases to be.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlsplit

from mesh.envoy import cluster, http, listener, tls
from mesh.envoy.listener import extension
from mesh.envoy.resource import TYPE_PREFIX, Resource, pack
from mesh.model.intentions import JwtProvider
from mesh.model.names import WILDCARD
from mesh.model.proxies import Inbound as Place
from mesh.model.services import Protocol
from mesh.policies.intentions.compile import Authorization, Scope, authorize
from mesh.policies.intentions.peers import admitted
from mesh.render.parts import Part
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


@dataclass(frozen=True, slots=True)
class Inbound(Part):
    """The mesh's way into one service at one place."""

    service: str
    place: Place

    def reads(self) -> tuple[Facet, ...]:
        """Everything that intentions to the service are made of."""
        return (
            Facet(Aspect.INTENTIONS, self.service),
            Facet(Aspect.INTENTIONS, WILDCARD),
            Facet(Aspect.DEFAULT_POLICY),
            Facet(Aspect.PROTOCOL, self.service),
            Facet(Aspect.PROXY_DEFAULTS),
            Facet(Aspect.JWT_PROVIDERS),
        )

    def render(self, world: World) -> tuple[Resource, ...]:
        """Return the listener, the application's cluster, the secret and the filters."""
        protocol = world.protocol(self.service)
        scope = Scope(
            trust_domain=world.trust_domain,
            protocol=protocol,
            default_allow=world.default_allow,
            providers=world.jwt_providers,
            jwks_cluster=_key_set_cluster,
        )
        rules = authorize(world.intentions, self.service, scope)
        callers = admitted(
            world.intentions, self.service, protocol, default_allow=world.default_allow
        )
        peers = tls.peers(_PEERS, identity_regex=callers.identity_regex(world.trust_domain))
        application = cluster.of_address(
            _APPLICATION,
            address=self.place.local_address,
            port=self.place.local_port,
            protocol=protocol,
        )
        return (
            pack(_NAME, self._listener(world, protocol, rules)),
            pack(_APPLICATION, application),
            pack(_PEERS, peers),
            *(pack(name, extension(name, config)) for name, config in _filters(rules)),
            *_key_sets(world, rules),
        )

    def _listener(self, world: World, protocol: Protocol, rules: Authorization) -> Any:
        discovered = [(name, _type_url(config)) for name, config in _filters(rules)]
        if rules.http is not None:
            refusal = (
                "mesh: %DOWNSTREAM_PEER_URI_SAN% may not %REQ(:METHOD)% %REQ(:PATH)% "
                f"on {self.service} in zone {world.zone}: no intention allows this request.\n"
            )
            filters = [
                http.inbound_manager(
                    _NAME, cluster=_APPLICATION, filters=discovered, refusal=refusal
                )
            ]
        else:
            filters = [listener.discovered_filter(name, url) for name, url in discovered]
            filters.append(listener.tcp_proxy(_NAME, _APPLICATION, after_handshake=True))
        return listener.listener(
            _NAME,
            address=self.place.address,
            port=self.place.port,
            filters=filters,
            direction=listener.TrafficDirection.INBOUND,
            transport=tls.downstream(
                peers_secret=_PEERS, alpn=("h2", "http/1.1") if protocol.is_http else ()
            ),
        )


def _filters(rules: Authorization) -> Iterator[tuple[str, Any]]:
    """Yield the filters that the rules need, in the order in which they stand."""
    if rules.network is not None:
        yield _CONNECTIONS, rules.network
    if rules.jwt is not None:
        yield _JWT, rules.jwt
    if rules.http is not None:
        yield _REQUESTS, rules.http


def _key_sets(world: World, rules: Authorization) -> Iterator[Resource]:
    """Yield the clusters from which the providers' remote key sets are fetched."""
    if rules.jwt is None:
        return
    for name in sorted(rules.jwt.providers):
        provider = world.jwt_providers[name]
        if provider.remote_uri:
            place = urlsplit(provider.remote_uri)
            secure = place.scheme == "https"
            built = cluster.of_host(
                _key_set_cluster(provider),
                host=place.hostname or "",
                port=place.port or (_HTTPS_PORT if secure else _HTTP_PORT),
                secure=secure,
            )
            yield pack(built.name, built)


def _key_set_cluster(provider: JwtProvider) -> str:
    return f"jwks:{provider.name}"


def _type_url(config: Any) -> str:
    return TYPE_PREFIX + str(config.DESCRIPTOR.full_name)
