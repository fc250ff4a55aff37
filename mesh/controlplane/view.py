"""What the administration API shows, read from the parts as they stand."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

from mesh.aio.clock import Clock
from mesh.ca.issuer import Issuer
from mesh.controlplane import faults
from mesh.controlplane.api.model import ExplainQuery, Problem, ServiceSummary, StatusAnswer
from mesh.controlplane.dryrun.forecast import Proxy
from mesh.controlplane.hub import Hub
from mesh.envoy.resource import Snapshot
from mesh.model import callers
from mesh.model.identity import ZoneId
from mesh.model.intentions import Intention
from mesh.model.proxies import ProxyNeed
from mesh.model.services import Health
from mesh.model.violations import InvalidInputError, Violation
from mesh.policies.intentions import Call, judge, what_would_change
from mesh.render.parties import UnknownProxyError
from mesh.render.way_document import whole
from mesh.routing.edge_findings import standing
from mesh.routing.requests import Request
from mesh.sources.consul.problems import Problems
from mesh.sources.consul.watch import ConsulSource
from mesh.world.snapshot import World
from mesh.xds.server import XdsServer
from mesh.xds.status import ProxyStatus


@dataclass(slots=True)
class View:
    """Implements :class:`mesh.controlplane.api.view.ZoneView`."""

    zone: ZoneId
    instance: str
    consul: str
    hub: Hub
    xds: XdsServer
    source: ConsulSource
    found: Problems
    issuer: Issuer
    clock: Clock
    leading: bool = False

    def proxies(self) -> Sequence[ProxyStatus]:
        """Return every proxy connected to this instance."""
        return self.xds.proxies()

    def snapshot(self, session: int) -> Snapshot | None:
        """Return what the proxy of ``session`` shall have, None if it has gone."""
        return self.hub.snapshot(session)

    def services(self) -> Sequence[ServiceSummary]:
        """Return the zone's services, by name.

        Instances are counted for services that some proxy needs: others are not watched.
        """
        world = self.hub.world
        connected = Counter(status.need.service for status in self.xds.proxies())
        summaries = []
        for name in sorted(world.catalog):
            instances = world.instances.get(name, ())
            usable = [one for one in instances if one.health is not Health.CRITICAL]
            ipv4, ipv6 = world.virtual_addresses.get(name, ("", ""))
            summaries.append(
                ServiceSummary(
                    name=name,
                    protocol=world.protocol(name).value,
                    instances=len(instances),
                    healthy=len(usable),
                    proxies=connected[name],
                    ipv4=ipv4,
                    ipv6=ipv6,
                )
            )
        return summaries

    def world(self) -> World:
        """Return the world as of the last change."""
        return self.hub.world

    def parties(self) -> Sequence[Proxy]:
        """Return the connected proxies with what they need."""
        return [Proxy(status.node, status.need) for status in self.xds.proxies()]

    def explain(self, query: ExplainQuery) -> Mapping[str, Any]:
        """Return the verdict on a call, the way that it takes, and what decided, as JSON."""
        world = self.hub.world
        headers = {
            name.lower(): value for name, value in (header.split("=", 1) for header in query.header)
        }
        call = Call(
            query.source,
            query.destination,
            world.protocol(query.destination),
            query.method,
            query.path,
            headers,
        )
        verdict = judge(world.intentions, call, default_allow=world.default_allow)
        return {
            "source": query.source,
            "destination": query.destination,
            "allowed": verdict.allowed,
            "depends_on_request": verdict.conditional,
            "protocol": call.protocol.value,
            "default": "allow" if world.default_allow else "deny",
            "reason": verdict.reason,
            "decided_by": _described(verdict.decided_by),
            "permission": verdict.permission_index,
            "overridden": [_described(intention) for intention in verdict.overridden],
            "what_would_change_it": what_would_change(
                world.intentions, call, default_allow=world.default_allow
            ),
            "last_good_stands": query.destination in self.hub.standing,
            # Where a peer's calls go before they come here is its own zone's affair.
            **({} if callers.peer_of(query.source) else self._way(query, headers)),
        }

    def _way(self, query: ExplainQuery, headers: Mapping[str, str]) -> Mapping[str, Any]:
        connected: dict[str, list[ProxyNeed]] = {}
        for status in self.xds.proxies():
            connected.setdefault(status.need.service, []).append(status.need)
        asked = Request(query.method or "GET", query.path or "/", headers)
        try:
            return whole(
                self.hub.world, (query.source, query.proxy), query.destination, asked, connected
            )
        except UnknownProxyError as error:
            raise InvalidInputError("the query", (Violation("proxy", str(error)),)) from error

    def problems(self) -> Sequence[Problem]:
        """Return what Consul holds that cannot be used, and what cannot be made of it."""
        return [
            *faults.unread(self.found.current),
            *faults.unroutable(self.hub.unroutable, self.hub.standing),
            *faults.broken(self.hub.broken),
            *faults.unserved(standing(self.hub.world)),
        ]

    def readiness(self) -> Sequence[str]:
        """Return every reason why this instance cannot serve proxies."""
        if self.source.ready.is_set():
            return []
        silent = [status for status in self.source.status() if status.last_success is None]
        return [f"Consul has not told {status.name} yet" for status in silent] or [
            "Consul has not told everything yet"
        ]

    def status(self) -> StatusAnswer:
        """Return how this instance of the zone fares."""
        issuer = self.issuer.status()
        reasons = list(self.readiness())
        stale = [status for status in self.source.status() if status.last_error]
        return StatusAnswer(
            zone=self.zone.zone,
            trust_domain=self.zone.trust_domain,
            version=version("consul-mesh"),
            instance=self.instance,
            leader=self.leading,
            ready=not reasons,
            reasons=reasons,
            proxies=len(self.xds.proxies()),
            services=len(self.hub.world.catalog),
            consul=self.consul,
            ca_mode=issuer.mode,
            ca_expires_at=issuer.intermediate_not_after
            or min((root.not_after for root in issuer.roots), default=None),
            warnings=[
                *issuer.warnings,
                *(f"Consul: {each.name}: {each.last_error}" for each in stale),
            ],
            time=self.clock.now(),
        )


def _described(intention: Intention | None) -> dict[str, Any] | None:
    if intention is None:
        return None
    return {
        "source": intention.source,
        "destination": intention.destination,
        "action": intention.action.value if intention.action else "permissions",
        "precedence": intention.precedence,
        "description": intention.description,
    }
