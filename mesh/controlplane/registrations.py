"""Services on hosts without a Consul agent, registered through the zone.

Each instance gets a virtual node of its own, ``mesh-<instance id>``, with two services on it:
the application and its sidecar.  A heartbeat renews a Consul session that holds the lease
``mesh/registrations/<instance id>``; when heartbeats stop, Consul deletes the lease, and the
leader's reaper sees to the rest.

The lease names what was registered (a digest), so a heartbeat that says nothing new touches the
session and nothing in the catalog, whichever instance of the zone it reaches.
"""

from __future__ import annotations

import hashlib
import ipaddress
import logging
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Final

import msgspec

from mesh.clients.consul import ConsulClient, KeyValue
from mesh.model.identity import WorkloadId
from mesh.model.names import SIDECAR_SUFFIX, ZONE_EGRESS, ZONE_GATEWAY
from mesh.model.services import NO_META, Health

logger = logging.getLogger(__name__)

PREFIX: Final = "mesh/registrations/"
"""Where leases stand in the KV."""
NODE_PREFIX: Final = "mesh-"
REGISTRAR_META: Final = "mesh-registrar"
"""Node metadata: the zone whose reaper looks after the node."""
LEASE_META: Final = "mesh-lease"
"""Node metadata: the instance whose lease keeps the node."""
SERVICE_META: Final = "mesh-service"
"""Node metadata: the service that the instance is of."""
LEASE_CHECK: Final = "mesh-lease"
"""The node's check, passing while the lease is held, critical when the reaper found it gone."""
LEASE_TTL: Final = 30.0
"""Seconds after which a lease without heartbeats may be gone."""

_GATEWAY_KINDS: Final = {ZONE_GATEWAY: "mesh-gateway", ZONE_EGRESS: "terminating-gateway"}
"""What Consul calls them."""
_INSTANCE: Final = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,98}[A-Za-z0-9])?")


class ForeignInstanceError(Exception):
    """The instance belongs to another service."""


@dataclass(frozen=True, slots=True)
class Registration:
    """An instance as its agent describes it.  ``port`` is the sidecar's."""

    id: str
    service: str
    address: str
    port: int
    app_port: int
    tags: tuple[str, ...] = ()
    meta: Mapping[str, str] = field(default_factory=lambda: NO_META)
    health: Health = Health.PASSING
    output: str = ""

    @property
    def node(self) -> str:
        """Name of its virtual node."""
        return f"{NODE_PREFIX}{self.id}"

    def digest(self) -> str:
        """Return a hash of all that the catalog says of it."""
        content = {**asdict(self), "meta": dict(self.meta)}
        return hashlib.sha256(msgspec.json.encode(content, order="sorted")).hexdigest()


class Lease(msgspec.Struct, frozen=True):
    """The value at the lease's key."""

    service: str
    digest: str


def instance_id(value: str) -> str:
    """Return ``value`` if it can name an instance.

    Raises:
        ValueError: it is not 1 to 100 letters, digits, ``.``, ``-`` or ``_``.

    """
    if not _INSTANCE.fullmatch(value):
        raise ValueError(
            f"{value!r} cannot name an instance: use 1 to 100 letters, digits, '.', '-' or '_', "
            "starting and ending with a letter or digit"
        )
    return value


def ip_literal(value: str) -> str:
    """Return ``value`` if other hosts can dial it.

    Raises:
        ValueError: it is no IP address, or stands for any.

    """
    try:
        parsed = ipaddress.ip_address(value)
    except ValueError as error:
        raise ValueError(f"{value!r} is not an IP address") from error
    if parsed.is_unspecified or parsed.is_multicast:
        raise ValueError(f"{value!r} cannot be dialled: give the host's own address")
    return value


def entries(registration: Registration, zone: str) -> tuple[Mapping[str, Any], ...]:
    """Return what to write to the catalog, in order: the sidecar last, for it is what is dialled.

    A gateway has none: it is dialled itself.

    Both services carry the application's health; the lease is a check of the node, and so of both.
    """
    sidecar_id = f"{registration.id}{SIDECAR_SUFFIX}"
    common: dict[str, Any] = {
        "Node": registration.node,
        "Address": registration.address,
        "NodeMeta": {
            REGISTRAR_META: zone,
            LEASE_META: registration.id,
            SERVICE_META: registration.service,
        },
    }
    shared = {
        "Address": registration.address,
        "Tags": list(registration.tags),
        "Meta": dict(registration.meta),
    }
    application = {
        **shared,
        "ID": registration.id,
        "Service": registration.service,
        "Port": registration.app_port,
    }
    sidecar = {
        **shared,
        "ID": sidecar_id,
        "Service": f"{registration.service}{SIDECAR_SUFFIX}",
        "Kind": "connect-proxy",
        "Port": registration.port,
        "Proxy": {
            "DestinationServiceName": registration.service,
            "DestinationServiceID": registration.id,
            "LocalServiceAddress": "127.0.0.1",
            "LocalServicePort": registration.app_port,
        },
    }
    lease = lease_check(registration.node, "passing", "held by heartbeats")
    if registration.service in _GATEWAY_KINDS:
        # As a gateway alone it would not be listed among what speaks the mesh's TLS.
        kind = _GATEWAY_KINDS[registration.service]
        gateway = {**application, "Kind": kind, "Connect": {"Native": True}}
        gateway["Port"] = registration.port
        checks = [lease, _health(registration, gateway)]
        return ({**common, "Service": gateway, "Checks": checks},)
    return (
        {**common, "Service": application, "Checks": [lease, _health(registration, application)]},
        {**common, "Service": sidecar, "Checks": [_health(registration, sidecar)]},
    )


def lease_check(node: str, status: str, output: str) -> Mapping[str, str]:
    """Return the node's lease check as the catalog takes it."""
    return {
        "Node": node,
        "CheckID": LEASE_CHECK,
        "Name": "Lease at the mesh zone",
        "Status": status,
        "Output": output,
    }


def _health(registration: Registration, service: Mapping[str, Any]) -> Mapping[str, str]:
    return {
        "Node": registration.node,
        "CheckID": f"service:{service['ID']}",
        "Name": "Health reported by the proxy",
        "Status": registration.health.value,
        "Output": registration.output,
        "ServiceID": service["ID"],
    }


class Registrations:
    """Registers instances and keeps their leases."""

    def __init__(self, consul: ConsulClient, zone: str, lease_ttl: float = LEASE_TTL) -> None:
        """Register in the catalog of ``consul`` on behalf of ``zone``."""
        self._consul = consul
        self._zone = zone
        self._ttl = lease_ttl

    async def put(self, caller: WorkloadId, registration: Registration) -> float:
        """Register, or renew; return the lease's seconds.

        Raises:
            ForeignInstanceError: the caller is another service, or the instance is another's.
            ConsulError: Consul did not answer; the next heartbeat completes what was begun.

        """
        if caller.service != registration.service or caller.zone != self._zone:
            raise ForeignInstanceError(
                f"{caller.uri} may register instances of {caller.service!r} in the zone "
                f"{caller.zone!r}, not of {registration.service!r} in {self._zone!r}"
            )
        held = (await self._consul.kv_get(PREFIX + registration.id)).value
        if held is not None and await self._renew(held, registration):
            return self._ttl
        await self._check_owner(caller, registration.id)
        index = await self._take_lease(registration, held)
        for entry in entries(registration, self._zone):
            await self._consul.catalog_register(entry)
        # Only now does the lease say what the catalog holds; and only if no reaper, thinking it
        # lost, has had a hand in the catalog meanwhile.
        lease = Lease(registration.service, registration.digest())
        await self._consul.kv_put(PREFIX + registration.id, msgspec.json.encode(lease), cas=index)
        logger.info(
            "instance registered",
            extra={
                "instance": registration.id,
                "service": registration.service,
                "address": registration.address,
                "health": registration.health.value,
            },
        )
        return self._ttl

    async def delete(self, caller: WorkloadId, instance: str) -> None:
        """Deregister; one that is not registered is no error.

        Raises:
            ForeignInstanceError: the instance is another service's.
            ConsulError: Consul did not answer.

        """
        await self._check_owner(caller, instance)
        held = (await self._consul.kv_get(PREFIX + instance)).value
        await self._consul.catalog_deregister(f"{NODE_PREFIX}{instance}")
        if held is not None:
            await self._consul.kv_delete(PREFIX + instance)
            if held.session:
                await self._consul.session_destroy(held.session)
        logger.info("instance deregistered", extra={"instance": instance})

    async def _renew(self, held: KeyValue, registration: Registration) -> bool:
        """Renew the lease if it stands for just this registration."""
        try:
            lease = msgspec.json.decode(held.data, type=Lease)
        except ValueError:
            return False
        if lease.service != registration.service or lease.digest != registration.digest():
            return False
        return bool(held.session) and await self._consul.session_renew(held.session)

    async def _check_owner(self, caller: WorkloadId, instance: str) -> None:
        found = (await self._consul.catalog_node(f"{NODE_PREFIX}{instance}")).value
        meta = (found.node.meta or {}) if found is not None else {SERVICE_META: caller.service}
        if meta.get(SERVICE_META) != caller.service or caller.zone != self._zone:
            raise ForeignInstanceError(
                f"the instance {instance!r} belongs to "
                f"{meta.get(SERVICE_META, 'another registrar')!r}, not to {caller.uri}"
            )

    async def _take_lease(self, registration: Registration, held: KeyValue | None) -> int:
        """Hold the lease, not yet saying for what; return the index that it is at."""
        session = held.session if held is not None else ""
        if not session or not await self._consul.session_renew(session):
            session = await self._consul.session_create(
                f"mesh registration {registration.id}",
                ttl=self._ttl,
                behavior="delete",
                lock_delay=0.0,
                checks=[],
            )
        key = PREFIX + registration.id
        undecided = msgspec.json.encode(Lease(registration.service, digest=""))
        if not await self._consul.kv_put(key, undecided, acquire=session):
            # Another instance of the zone took the same heartbeat's lease; its session holds.
            logger.info("lease already held", extra={"instance": registration.id})
            await self._consul.session_destroy(session)
        found = (await self._consul.kv_get(key)).value
        return found.modify_index if found is not None else 0
