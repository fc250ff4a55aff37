"""Tells the registry that this instance is there, and tells it again when it forgot.

Through the local Consul agent, which then checks application and sidecar itself; or through the
zone, where there is no Consul agent: there each refresh renews a lease and carries the health that
the agent found.  Both keep trying for ever: a registry that is down is no reason to stop serving.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from typing import Any, Final, Protocol

from mesh.agent import health
from mesh.agent.consul import ConsulAgent
from mesh.agent.enrolment import Enrolment
from mesh.agent.errors import AgentError
from mesh.agent.gateway_services import gateway_service
from mesh.agent.settings import AgentSettings
from mesh.agent.zone import ZoneClient
from mesh.aio.backoff import Backoff
from mesh.aio.clock import Clock
from mesh.model import hostport
from mesh.model.names import SIDECAR_SUFFIX
from mesh.model.proxies import Inbound, Role

logger = logging.getLogger(__name__)

CHECK_SECONDS: Final = 10.0
"""How often Consul is asked whether it still knows the service."""

_REFRESHES_PER_LEASE: Final = 3
_TOLD: Final = ("Address", "Port", "Tags", "Meta")
"""What callers are told of a service."""


class Registrar(Protocol):
    """One way to be registered."""

    async def refresh(self) -> float:
        """Be registered; return the seconds after which to look again."""
        ...

    async def deregister(self) -> None:
        """Be registered no longer."""
        ...


class NoRegistrar:
    """Somebody else registers this instance."""

    async def refresh(self) -> float:
        """Do nothing, once an hour."""
        return 3600.0

    async def deregister(self) -> None:
        """Do nothing."""


class ConsulRegistrar:
    """Registers the application and its sidecar with the Consul agent on this host."""

    def __init__(
        self,
        settings: AgentSettings,
        inbound: Inbound,
        address: Callable[[], str],
        consul: ConsulAgent,
    ) -> None:
        """``address`` returns where other hosts find this one; it may ask DNS, and may fail."""
        self._settings = settings
        self._inbound = inbound
        self._address = address
        self._consul = consul

    async def refresh(self) -> float:
        """Register what Consul does not know, or knows otherwise.

        It does not at first, or after it lost its state; it knows otherwise when the host has
        another address than before, or the settings changed while the agent was down.  The ids
        are the same, so what is registered replaces what was: no caller finds both.
        """
        known = {each: await self._consul.find(each) for each in self._ids()}
        address = await asyncio.to_thread(self._address)
        settings, inbound = self._settings, self._inbound
        wanted = consul_services(settings, inbound, address, passing=False)
        if any(differs(known[str(each["ID"])], each) for each in wanted):
            healthy = await health.probe(settings.health, inbound) == health.PASSING
            for service in consul_services(settings, inbound, address, passing=healthy):
                await self._consul.register(service)
            logger.info(
                "registered with consul", extra={"service_id": settings.id, "address": address}
            )
        return CHECK_SECONDS

    async def deregister(self) -> None:
        """Remove both, the sidecar first: it is what callers dial."""
        for each in self._ids():
            # With ACLs, Consul calls it an error to remove what is not there.
            if await self._consul.has(each):
                await self._consul.deregister(each)

    def _ids(self) -> tuple[str, ...]:
        """Return what it is registered as, what callers dial first."""
        own = self._settings.id
        return (sidecar_id(own), own) if self._settings.role is Role.SIDECAR else (own,)


class ZoneRegistrar:
    """Registers through the zone's API and keeps the lease."""

    def __init__(
        self,
        settings: AgentSettings,
        inbound: Inbound,
        address: Callable[[], str],
        zone: ZoneClient,
        enrolment: Enrolment,
    ) -> None:
        """``address`` returns where other hosts find this one; it may ask DNS, and may fail."""
        self._settings = settings
        self._inbound = inbound
        self._address = address
        self._zone = zone
        self._enrolment = enrolment

    async def refresh(self) -> float:
        """Renew the lease with the application's present health."""
        if self._enrolment.trust is None:
            return 1.0
        status = await health.probe(self._settings.health, self._inbound)
        body = {
            "id": self._settings.id,
            "service": self._settings.service,
            "address": await asyncio.to_thread(self._address),
            "port": self._inbound.port,
            "app_port": self._inbound.local_port,
            "tags": list(self._settings.tags),
            "meta": dict(self._settings.meta),
            "health": status.health,
            "output": status.output,
        }
        certificate = self._enrolment.files.certificate
        lease = await self._zone.register(self._enrolment.trust, certificate, body)
        return max(1.0, min(lease / _REFRESHES_PER_LEASE, self._settings.health.interval))

    async def deregister(self) -> None:
        """Give the lease back."""
        if self._enrolment.trust is not None:
            await self._zone.deregister(
                self._enrolment.trust, self._enrolment.files.certificate, self._settings.id
            )


class Registration:
    """Keeps one instance registered by way of ``registrar``."""

    def __init__(self, registrar: Registrar, clock: Clock) -> None:
        """Nothing is registered yet."""
        self._registrar = registrar
        self._clock = clock
        self.registered = False
        self.complaint = ""
        """Why the last try failed; empty if it did not."""
        self._tried = False

    async def run(self) -> None:
        """Register and stay registered; runs forever."""
        backoff = Backoff(0.5, 15.0)
        while True:
            self._tried = True
            try:
                pause = await self._registrar.refresh()
            except (AgentError, OSError) as error:
                if str(error) != self.complaint:
                    self.complaint = str(error)
                    logger.warning("not registered", extra={"reason": self.complaint})
                pause = backoff.next()
            else:
                self.registered = True
                self.complaint = ""
                backoff.reset()
            await self._clock.sleep(pause)

    async def deregister(self) -> None:
        """Take the instance out; a registry that does not answer will notice by itself."""
        # A try that failed may have registered the application, and not its sidecar.
        if not self._tried:
            return
        try:
            await self._registrar.deregister()
        except (AgentError, OSError) as error:
            logger.warning("not deregistered", extra={"reason": str(error)})
        else:
            self.registered = self._tried = False
            logger.info("deregistered")


def differs(known: Mapping[str, Any] | None, wanted: Mapping[str, Any]) -> bool:
    """Whether what Consul knows of a service is not what it should say to callers."""
    if known is None:
        return True
    # Consul leaves out, or gives as null, what is empty.
    return any((known.get(name) or None) != (wanted.get(name) or None) for name in _TOLD)


def sidecar_id(instance: str) -> str:
    """Return the id under which an instance's sidecar is registered."""
    return f"{instance}{SIDECAR_SUFFIX}"


def consul_services(
    settings: AgentSettings, inbound: Inbound, address: str, *, passing: bool
) -> tuple[dict[str, Any], ...]:
    """Return the application and its sidecar, or the gateway, as Consul's agent takes them.

    ``passing`` is what the application's check begins with, until Consul has made its own.
    """
    if settings.role is not Role.SIDECAR:
        return (gateway_service(settings, inbound, address),)
    interval = f"{settings.health.interval:g}s"
    app = {
        "ID": settings.id,
        "Name": settings.service,
        "Address": address,
        "Port": inbound.local_port,
        "Tags": list(settings.tags),
        "Meta": dict(settings.meta),
        "Checks": _app_checks(settings, inbound, interval, passing=passing),
    }
    sidecar = {
        "ID": sidecar_id(settings.id),
        "Name": f"{settings.service}{SIDECAR_SUFFIX}",
        "Kind": "connect-proxy",
        "Address": address,
        "Port": inbound.port,
        # As Consul's own sidecar_service does: subsets are chosen by the sidecar's tags and meta.
        "Tags": list(settings.tags),
        "Meta": dict(settings.meta),
        "Proxy": {
            "DestinationServiceName": settings.service,
            "DestinationServiceID": settings.id,
            "LocalServiceAddress": inbound.local_address,
            "LocalServicePort": inbound.local_port,
            "Upstreams": [
                {
                    "DestinationName": upstream.service,
                    **({"Datacenter": upstream.zone} if upstream.zone else {}),
                    "LocalBindAddress": upstream.address,
                    "LocalBindPort": upstream.port,
                }
                for upstream in settings.upstreams
            ],
        },
        "Checks": [
            {
                "CheckID": f"{sidecar_id(settings.id)}:listening",
                "Name": "Sidecar listens",
                "TCP": hostport.join(address, inbound.port),
                "Interval": "10s",
                "Timeout": "2s",
                # The agent registers when Envoy serves, and callers should not wait for a check.
                "Status": "passing",
            },
            {
                "CheckID": f"{sidecar_id(settings.id)}:application",
                "Name": "Application is healthy",
                "AliasService": settings.id,
            },
        ],
    }
    return app, sidecar


def _app_checks(
    settings: AgentSettings, inbound: Inbound, interval: str, *, passing: bool
) -> list[dict[str, Any]]:
    if settings.health.kind == "none":
        return []
    place = hostport.join(inbound.local_address, inbound.local_port)
    how = (
        {"HTTP": f"http://{place}{settings.health.path}"}
        if settings.health.kind == "http"
        else {"TCP": place}
    )
    return [
        {
            "CheckID": f"{settings.id}:application",
            "Name": "Application answers",
            **how,
            "Interval": interval,
            "Timeout": "2s",
            "Status": "passing" if passing else "critical",
        }
    ]
