"""SPIFFE identities: of a workload, and of a zone's control plane.

Sources: SPIFFE-ID (https://github.com/spiffe/spiffe/blob/main/standards/SPIFFE-ID.md) and the
path that Consul Connect gives to a service.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Self

from mesh.model import names

_WORKLOAD = re.compile(r"spiffe://([^/]+)/ns/default/dc/([^/]+)/svc/([^/]+)")
_ZONE = re.compile(r"spiffe://([^/]+)/mesh/zone/([^/]+)")


class InvalidIdentityError(ValueError):
    """A URI is not the canonical SPIFFE id of a workload, or of a zone."""


@dataclass(frozen=True, slots=True)
class WorkloadId:
    """Who a workload is: ``spiffe://<trust-domain>/ns/default/dc/<zone>/svc/<service>``."""

    trust_domain: str
    zone: str
    service: str

    @property
    def uri(self) -> str:
        """The canonical URI."""
        return f"spiffe://{self.trust_domain}/ns/default/dc/{self.zone}/svc/{self.service}"

    def server_name(self, subset: str = "") -> str:
        """Return the name (SNI) by which it, or a ``subset`` of its instances, is dialled."""
        return names.sni(self.service, self.zone, self.trust_domain, subset=subset)

    @classmethod
    def parse(cls, uri: str) -> Self:
        """Read a canonical URI; anything that would not print back the same is refused.

        Raises:
            InvalidIdentityError: ``uri`` is not canonical.

        """
        found = _WORKLOAD.fullmatch(uri)
        if found is None:
            msg = (
                f"{uri!r} is not a workload identity: "
                "expected spiffe://<trust-domain>/ns/default/dc/<zone>/svc/<service>"
            )
            raise InvalidIdentityError(msg)
        domain, zone, service = found.groups()
        try:
            return cls(
                names.trust_domain(domain), names.zone_name(zone), names.service_name(service)
            )
        except names.InvalidNameError as error:
            msg = f"{uri!r} is not a workload identity: {error}"
            raise InvalidIdentityError(msg) from error


@dataclass(frozen=True, slots=True)
class ZoneId:
    """Who a zone's control plane is: ``spiffe://<trust-domain>/mesh/zone/<zone>``."""

    trust_domain: str
    zone: str

    @property
    def uri(self) -> str:
        """The canonical URI."""
        return f"spiffe://{self.trust_domain}/mesh/zone/{self.zone}"

    @classmethod
    def parse(cls, uri: str) -> Self:
        """Read a canonical URI; anything that would not print back the same is refused.

        Raises:
            InvalidIdentityError: ``uri`` is not canonical.

        """
        found = _ZONE.fullmatch(uri)
        if found is None:
            msg = f"{uri!r} is not a zone: expected spiffe://<trust-domain>/mesh/zone/<zone>"
            raise InvalidIdentityError(msg)
        domain, zone = found.groups()
        try:
            return cls(names.trust_domain(domain), names.zone_name(zone))
        except names.InvalidNameError as error:
            raise InvalidIdentityError(f"{uri!r} is not a zone: {error}") from error

    @property
    def server_name(self) -> str:
        """The DNS name in the control plane's certificate, dialled whatever its address is."""
        return f"zone.{self.zone}.{self.trust_domain}"

    def peering_name(self, peer: str = "") -> str:
        """Return the server name by which ``peer`` asks for the control plane, at a gateway.

        Without a name it is that for whoever shows a peering token.
        """
        name = f"peering.{self.server_name}"
        return f"{peer}.{name}" if peer else name
