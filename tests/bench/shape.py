"""The estate of the bench ``xds``: services, instances, upstreams and proxies, from a seed.

Pure.  Every service has ``instances`` instances, each a ``connect-proxy`` registration with a
health check beside its application's, ten to a host.  Every service calls ``upstreams`` others,
drawn at random, and is allowed exactly those; a share of the services speaks HTTP, the rest TCP.
Beside them stands one HTTP service that everybody calls, and may; it has no proxy in the fleet.
Calls to it are divided between two subsets, by a ``service-splitter`` and, some of them, by a
MeshHTTPRoute.
Proxy *n* stands for service *n* modulo the services.
"""

from __future__ import annotations

import base64
import itertools
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

import msgspec

from mesh.clients.consul import policy_records
from mesh.envoy import endpoint
from mesh.envoy.resource import pack
from mesh.model.names import WILDCARD
from mesh.model.proxies import Inbound, ProxyNeed, Upstream
from mesh.model.services import Health, Instance

ZONE: Final = "dc1"
SUBSETS: Final = ("v1", "v2")
"""Of the common service."""
_PER_HOST: Final = 10
_FIRST_PORT: Final = 20_000
_FIRST_BIND: Final = 9_001
_COMMON_BIND: Final = 9_000
_APPLIED: Final = datetime(2026, 1, 1, tzinfo=UTC)

Operation = Mapping[str, Any]
"""One operation of ``/v1/txn``."""


@dataclass(frozen=True, slots=True)
class Size:
    """What was varied."""

    proxies: int
    services: int
    instances: int
    upstreams: int
    http_share: float
    seed: int


@dataclass(slots=True)
class Service:
    """One service: its callers' proxies, its own, and its instances as the registry has them."""

    name: str
    is_http: bool
    upstreams: tuple[str, ...] = ()
    callers: list[str] = field(default_factory=list)
    proxies: list[int] = field(default_factory=list)
    instances: list[Instance] = field(default_factory=list)

    def usable(self) -> list[int]:
        """Return where in ``instances`` those stand that callers may be sent to."""
        return [
            place for place, one in enumerate(self.instances) if one.health is not Health.CRITICAL
        ]

    def version(self) -> str:
        """Return the version of the endpoints that a caller must be given now."""
        order = sorted(self.instances, key=lambda one: (one.node, one.id))
        return pack(self.name, endpoint.assignment(self.name, order)).version


class Shape:
    """All of it."""

    def __init__(self, size: Size) -> None:
        """Draw the estate of ``size``."""
        self.size = size
        self.random = random.Random(size.seed)  # noqa: S311 - reproducible, not secret
        self._numbers = itertools.count()
        names = [f"svc-{number:04}" for number in range(size.services)]
        limit = round(size.services * size.http_share)
        speak_http = set(self.random.sample(names, limit))
        self.services = {name: Service(name, name in speak_http) for name in names}
        for service in self.services.values():
            others = [name for name in names if name != service.name]
            chosen = self.random.sample(others, min(size.upstreams, len(others)))
            service.upstreams = tuple(chosen)
            for name in chosen:
                self.services[name].callers.append(service.name)
            service.instances = [self.new_instance(service.name) for _ in range(size.instances)]
        for number in range(size.proxies):
            self.services[names[number % len(names)]].proxies.append(number)
        self.common = Service("common", is_http=True, callers=[WILDCARD])
        self.common.instances = [self.new_instance("common") for _ in range(size.instances)]

    def new_instance(self, service: str) -> Instance:
        """Return an instance that is nowhere yet."""
        number = next(self._numbers)
        host = number // _PER_HOST
        return Instance(
            id=f"{service}-{number}-sidecar-proxy",
            node=f"host-{host:05}",
            address=f"10.{host >> 16 & 255}.{host >> 8 & 255}.{host & 255}",
            port=_FIRST_PORT + number % _PER_HOST,
        )

    def need(self, service: Service) -> ProxyNeed:
        """Return what a proxy of ``service`` asks for; upstreams are bound in their order."""
        return ProxyNeed(
            service.name,
            ZONE,
            Inbound("0.0.0.0", 15_006, "127.0.0.1", 8080),  # noqa: S104 - never bound here
            self.upstreams(service),
        )

    def upstreams(self, service: Service) -> tuple[Upstream, ...]:
        """Return the upstreams of ``service`` with the ports on which it dials them.

        They are numbered in its own order, so no two services share a listener; only the common
        one has the same port everywhere.
        """
        own = map(Upstream, service.upstreams, itertools.count(_FIRST_BIND))
        return (*own, Upstream(self.common.name, _COMMON_BIND))

    def reached_by(self, service: Service) -> list[int]:
        """Return the proxies that ``service`` has as an upstream."""
        return sorted(
            number for caller in service.callers for number in self.services[caller].proxies
        )

    def entries(self) -> Iterator[dict[str, Any]]:
        """Yield the configuration entries."""
        for service in (*self.services.values(), self.common):
            if service.is_http:
                yield {"Kind": "service-defaults", "Name": service.name, "Protocol": "http"}
            if service.callers:
                yield intentions(service)

    def routing(self) -> Iterator[dict[str, Any]]:
        """Yield the entries, in their order, by which calls to the common service are divided."""
        subsets: dict[str, dict[str, Any]] = {subset: {} for subset in SUBSETS}
        name = self.common.name
        yield {"Kind": "service-resolver", "Name": name, "Subsets": subsets}
        yield splitter(name, 10)

    def policies(self) -> Iterator[Operation]:
        """Yield what writes the policies."""
        yield applied(http_route(self.common.name, 10))

    def registrations(self) -> Iterator[Sequence[Operation]]:
        """Yield what each instance takes in the registry; hosts come before what is on them."""
        hosts: set[str] = set()
        for service in (*self.services.values(), self.common):
            for instance in service.instances:
                new = instance.node not in hosts
                hosts.add(instance.node)
                yield (*((host(instance),) if new else ()), *registration(service.name, instance))


def intentions(service: Service, denied: str = "") -> dict[str, Any]:
    """Return the entry that allows exactly the callers of ``service``, but not ``denied``."""
    sources = [
        {"Name": name, "Action": "deny" if name == denied else "allow"} for name in service.callers
    ]
    return {"Kind": "service-intentions", "Name": service.name, "Sources": sources}


def splitter(service: str, weight: int) -> dict[str, Any]:
    """Return the entry that gives the second subset of ``service`` ``weight`` percent."""
    weights = zip(SUBSETS, (100 - weight, weight), strict=True)
    splits = [{"Weight": weight, "ServiceSubset": subset} for subset, weight in weights]
    return {"Kind": "service-splitter", "Name": service, "Splits": splits}


def http_route(service: str, weight: int) -> dict[str, Any]:
    """Return a policy that gives the second subset of ``service`` ``weight`` percent.

    It is about some of the requests; the others go as the entries have it.
    """
    backends = [
        {"kind": "MeshService", "name": service, "subset": subset, "weight": weight}
        for subset, weight in zip(SUBSETS, (100 - weight, weight), strict=True)
    ]
    rule = {
        "matches": [{"path": {"type": "PathPrefix", "value": "/canary"}}],
        "default": {"backendRefs": backends},
    }
    called = {"kind": "MeshService", "name": service}
    spec = {"to": [{"targetRef": called, "rules": [rule]}]}
    return {"type": "MeshHTTPRoute", "name": service, "mesh": "default", "spec": spec}


def applied(policy: Mapping[str, Any]) -> Operation:
    """Return what writes ``policy``, without the history that ``mesh apply`` keeps."""
    envelope = policy_records.Envelope(1, dict(policy), _APPLIED)
    value = base64.b64encode(msgspec.json.encode(envelope)).decode()
    return {"KV": {"Verb": "set", "Key": policy_records.key_of(policy).path, "Value": value}}


def registration(service: str, instance: Instance) -> tuple[Operation, ...]:
    """Return what registers an instance: application, sidecar and the sidecar's check."""
    application = instance.id.removesuffix("-sidecar-proxy")
    return (
        _set(instance.node, ID=application, Service=service, Address="", Port=8080),
        _set(
            instance.node,
            ID=instance.id,
            Service=f"{service}-sidecar-proxy",
            Kind="connect-proxy",
            Address=instance.address,
            Port=instance.port,
            Proxy={
                "DestinationServiceName": service,
                "DestinationServiceID": application,
                "LocalServiceAddress": "127.0.0.1",
                "LocalServicePort": 8080,
            },
        ),
        check(service, instance),
    )


def check(service: str, instance: Instance) -> Operation:
    """Return what writes the sidecar's check as ``instance`` has it."""
    body = {
        "Node": instance.node,
        "CheckID": f"{instance.id}:ready",
        "Name": "sidecar is ready",
        "Status": instance.health.value,
        "Output": "" if instance.health is Health.PASSING else "connection refused",
        "ServiceID": instance.id,
        "ServiceName": f"{service}-sidecar-proxy",
    }
    return {"Check": {"Verb": "set", "Check": body}}


def deregistration(service: str, instance: Instance) -> tuple[Operation, ...]:
    """Return what takes an instance out, its checks with it."""
    application = instance.id.removesuffix("-sidecar-proxy")
    named = ((instance.id, f"{service}-sidecar-proxy"), (application, service))
    return tuple(
        {
            "Service": {
                "Verb": "delete",
                "Node": instance.node,
                "Service": {"ID": service_id, "Service": name},
            }
        }
        for service_id, name in named
    )


def host(instance: Instance) -> Operation:
    """Return what registers the host of an instance."""
    return {"Node": {"Verb": "set", "Node": {"Node": instance.node, "Address": instance.address}}}


def _set(node: str, **service: Any) -> Operation:
    return {"Service": {"Verb": "set", "Node": node, "Service": service}}
