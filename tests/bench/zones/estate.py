"""What one control plane is told of ten zones with 500 services each.  Pure.

Half of a zone's services are everywhere, so that zones stand in for one another; half are its own.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any, Final

from mesh.model.names import SIDECAR_SUFFIX, WAN_META, ZONE_GATEWAY
from mesh.model.services import Health, Instance, Protocol
from mesh.model.zones import Exported, Gateway, Zone
from mesh.sources.zones.document import ZoneDocument
from mesh.sources.zones.record import ZoneRecord
from tests.bench.shape import ZONE

Entry = Mapping[str, Any]
"""What ``/v1/catalog/register`` takes."""

ZONES: Final = 10
SERVICES: Final = 500
"""In each zone."""
GATEWAYS: Final = 2
_HEALTHY: Final = 3
_PER_HOST: Final = 10
_FIRST_PORT: Final = 20_000
_GATEWAY_PORT: Final = 10_001


def others() -> list[str]:
    """Return the names of the other zones."""
    return [f"dc{number}" for number in range(2, ZONES + 1)]


def services(zone: str) -> list[str]:
    """Return the names of a zone's services: those of all zones, then its own."""
    half = SERVICES // 2
    return [
        *(f"common-{number:03}" for number in range(half)),
        *(f"{zone}-{number:03}" for number in range(SERVICES - half)),
    ]


def only_in(zone: str) -> str:
    """Return the service of which instances come and go, and that no other zone has."""
    return services(zone)[-1]


def record(
    zone: str, now: datetime, *, trust_domain: str, bundle: str, is_down: bool = False
) -> ZoneRecord:
    """Return what is known of ``zone``; with ``is_down`` nobody answers for :func:`only_in`."""
    number = int(zone.removeprefix("dc"))
    exported = {name: Exported(Protocol.TCP, _HEALTHY) for name in services(zone)}
    if is_down:
        exported[only_in(zone)] = Exported(Protocol.TCP, 0)
    gateways = tuple(
        Gateway(f"10.{number}.0.{each}", _GATEWAY_PORT) for each in range(1, GATEWAYS + 1)
    )
    known = Zone(zone, trust_domain, bundle, gateways, exported, distance=10.0 * number)
    api = (f"10.{number}.0.9:5678",)
    return ZoneRecord(ZoneDocument(known, "0" * 64, api, api, now), now, now)


def instance(service: str, number: int) -> Instance:
    """Return the instance of a service of our own."""
    node = number // _PER_HOST
    return Instance(
        id=f"{service}-1-sidecar-proxy",
        node=f"host-{node:03}",
        address=f"10.1.1.{node + 1}",
        port=_FIRST_PORT + number % _PER_HOST,
    )


def own() -> Iterator[Entry]:
    """Yield what registers our own services and gateways in the catalog.

    (In a transaction Consul 1.8 forgets what kind of service it is given.)
    """
    for number, service in enumerate(services(ZONE)):
        one = instance(service, number)
        place = {"Node": one.node, "Address": one.address, "SkipNodeUpdate": True}
        application = f"{service}-1"
        yield {**place, "Service": {"ID": application, "Service": service, "Port": 8080}}
        sidecar = {
            "ID": one.id,
            "Service": f"{service}{SIDECAR_SUFFIX}",
            "Kind": "connect-proxy",
            "Address": one.address,
            "Port": one.port,
            "Proxy": {"DestinationServiceName": service, "DestinationServiceID": application},
        }
        yield {**place, "Service": sidecar, "Check": _check(one, service)}
    for number in range(1, GATEWAYS + 1):
        yield gateway(f"gateway-{number}", f"10.1.0.{number}")


def gateway(name: str, address: str) -> Entry:
    """Return what registers a gateway on a host of its own."""
    service = {
        "ID": name,
        "Service": ZONE_GATEWAY,
        "Kind": "mesh-gateway",
        # By which it is found as others are: so agents register it.
        "Connect": {"Native": True},
        "Address": address,
        "Port": _GATEWAY_PORT,
        "Meta": {WAN_META: f"{address}:{_GATEWAY_PORT}"},
    }
    return {"Node": name, "Address": address, "Service": service}


def own_check(*, is_down: bool) -> Entry:
    """Return what says how the instance of our own :func:`only_in` is."""
    service = only_in(ZONE)
    one = instance(service, services(ZONE).index(service))
    health = Health.CRITICAL if is_down else Health.PASSING
    found = _check(replace(one, health=health), service)
    return {"Node": one.node, "Address": one.address, "SkipNodeUpdate": True, "Check": found}


def _check(one: Instance, service: str) -> Entry:
    return {
        "Node": one.node,
        "CheckID": f"{one.id}:ready",
        "Name": "sidecar is ready",
        "Status": one.health.value,
        "ServiceID": one.id,
        "ServiceName": f"{service}{SIDECAR_SUFFIX}",
    }
