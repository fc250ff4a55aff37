"""Which calls leave by the egress gateways of the caller's zone, and what they reach there.

Calls to another zone do where Consul's ``MeshGateway`` says ``local``; calls to external services
where their MeshExternalService, or a ``terminating-gateway`` entry, says it.  Nothing takes the
gateways' place while there are none: somebody wanted that way and no other.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from mesh.model.destinations import External, Host, Selection
from mesh.model.entries import Entries, GatewayMode
from mesh.model.services import Health, Instance, Protocol
from mesh.policies.kinds import external_service
from mesh.routing.exports import selections
from mesh.routing.instances import outside_instances
from mesh.world.snapshot import World


@dataclass(frozen=True, slots=True)
class Leaving:
    """An external service behind the egress gateways.

    ``linked``: its hosts are the instances that the catalog has of it, and not those of
    ``external``.
    """

    service: str
    external: External
    protocol: Protocol
    linked: bool = False


def gateway_mode(entries: Entries, caller: str, service: str) -> GatewayMode:
    """Return by whose gateway calls of ``caller`` to ``service`` in another zone go.

    As in Consul the caller's side speaks first: what it says of this upstream, of all upstreams,
    of itself; then proxy-defaults; then the callee's own service-defaults.
    """
    found = [entries.proxy_defaults.gateway]
    said = entries.service_defaults.get(caller)
    if said is not None:
        one = said.upstreams.get(service)
        specific = one.gateway if one is not None else GatewayMode.UNSAID
        found = [specific, said.upstream.gateway, said.gateway, *found]
    callee = entries.service_defaults.get(service)
    found.append(callee.gateway if callee is not None else GatewayMode.UNSAID)
    return next(filter(None, found), GatewayMode.UNSAID)


def leaving(world: World, service: str) -> Leaving | None:
    """Return how ``service`` is reached by egress; None if it does not leave by one.

    A MeshExternalService speaks before an entry.
    """
    document = world.policies.get((external_service.KIND.name, service))
    if document is not None:
        if not external_service.by_egress(document):
            return None
        external, protocol = external_service.external(document)
        return Leaving(service, external, protocol)
    linked = world.entries.linked.get(service)
    if linked is None:
        return None
    pair = (linked.cert_file, linked.key_file) if linked.cert_file else None
    external = External(
        (), tls=bool(linked.ca_file), sni=linked.sni, ca_file=linked.ca_file, certificate=pair
    )
    return Leaving(service, external, world.protocol(service), linked=True)


def all_leaving(world: World) -> tuple[Leaving, ...]:
    """Return every external service behind the egress gateways, by name."""
    named = {name for kind, name in world.policies if kind == external_service.KIND.name}
    found = (leaving(world, service) for service in sorted(named | world.entries.linked.keys()))
    return tuple(one for one in found if one is not None)


def ways(world: World, one: Leaving) -> tuple[Selection, ...]:
    """Return what of an external service can be called: all of it, and each subset of it."""
    found = selections(world, one.service)
    # Of a service that a policy describes no resolver speaks.
    return found if one.linked else found[:1]


def routed(world: World, caller: str, selection: Selection) -> Selection:
    """Return ``selection`` as proxies of ``caller`` reach it: by egress where somebody says so."""
    target = selection.target
    if target.elsewhere:
        mode = gateway_mode(world.entries, caller, target.service)
        return replace(selection, by_egress=mode is GatewayMode.LOCAL)
    return replace(selection, by_egress=leaving(world, target.service) is not None)


def found_outside(
    world: World, one: Leaving, selection: Selection
) -> tuple[External, tuple[Instance, ...]]:
    """Return the hosts of ``selection``, an external service: usable ones, of a linked one too.

    The instances are those of a linked service, whatever they are worth.
    """
    if not one.linked:
        return one.external, ()
    instances = outside_instances(world, selection)
    hosts = dict.fromkeys(_hosts(instances))
    return replace(one.external, hosts=tuple(hosts)), instances


def _hosts(instances: tuple[Instance, ...]) -> Iterator[Host]:
    for instance in instances:
        if instance.health is not Health.CRITICAL:
            yield Host(instance.address, instance.port)
