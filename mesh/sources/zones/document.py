"""The zone's document: all that other zones, and newcomers, need to know of it.  Pure.

``mesh/zone/<zone>`` in the KV store of the zone's own datacenter.  It has a ``version``, so that
zones of different releases can tell that they do not understand each other; within one version
unknown fields are refused.  ``published_at`` is by the publisher's clock and moves on even if
nothing else does: whoever reads it sees that the publisher lives, and how far the clocks differ.
"""

from __future__ import annotations

import ipaddress
import json
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Final

import msgspec

from mesh.clients.consul.fields import Fields
from mesh.model import names
from mesh.model.hostport import MAX_PORT
from mesh.model.services import Protocol
from mesh.model.violations import Report
from mesh.model.zones import Exported, Gateway, Zone

PREFIX: Final = "mesh/zone/"
"""Where it stands in the KV; the rest of the key is the zone."""
VERSION: Final = 1
_NOWHERE: Final = "0.0.0.0"  # noqa: S104 - no address is bound: it stands in for a malformed one


@dataclass(frozen=True, slots=True)
class ZoneDocument:
    """What a zone says of itself.

    ``api`` and ``xds`` are ``host:port`` of its control planes; the rest is ``zone``, without a
    distance.
    """

    zone: Zone
    fingerprint: str
    api: tuple[str, ...] = ()
    xds: tuple[str, ...] = ()
    published_at: datetime | None = field(default=None, compare=False)

    def encode(self) -> bytes:
        """Write what :func:`parse` reads."""
        zone = self.zone
        body = {
            "version": VERSION,
            "zone": zone.name,
            "trust_domain": zone.trust_domain,
            "bundle": zone.bundle,
            "fingerprint": self.fingerprint,
            "api": self.api,
            "xds": self.xds,
            "gateways": [{"address": one.address, "port": one.port} for one in zone.gateways],
            "services": [_service(name, one) for name, one in sorted(zone.services.items())],
            "published_at": self.published_at.isoformat() if self.published_at else "",
        }
        return json.dumps(body).encode()


def meant_for(document: ZoneDocument, zone: str) -> ZoneDocument:
    """Return ``document`` with only those services that are meant for ``zone``."""
    services = document.zone.services
    kept = {name: one for name, one in services.items() if not one.zones or zone in one.zones}
    if len(kept) == len(services):
        return document
    return replace(document, zone=replace(document.zone, services=kept))


def parse(data: bytes, subject: str) -> ZoneDocument:
    """Read a document; ``subject`` is how errors name it.

    Raises:
        InvalidInputError: with every violation.

    """
    report = Report(subject)
    try:
        raw = msgspec.json.decode(data)
    except (ValueError, RecursionError) as error:
        raise report.refuse("", f"is not JSON: {error}") from error
    found = read(raw, report)
    report.close()
    return found


def read(raw: object, report: Report) -> ZoneDocument:
    """Read a document that was decoded already; what is wrong goes to ``report``."""
    fields = Fields(raw, "", report)
    version = fields.integer("version")
    if version != VERSION:
        message = f"is {version}; this release reads {VERSION}: upgrade the older zone"
        fields.wrong("version", message)
    name, domain = fields.text("zone", required=True), fields.text("trust_domain", required=True)
    for path, value, check in (
        ("zone", name, names.zone_name),
        ("trust_domain", domain, names.trust_domain),
    ):
        try:
            check(value)
        except names.InvalidNameError as error:
            fields.wrong(path, str(error))
    zone = Zone(
        name=name,
        trust_domain=domain,
        bundle=fields.text("bundle", required=True),
        gateways=tuple(sorted(_gateway(each) for each in fields.children("gateways"))),
        services=_services(fields),
    )
    found = ZoneDocument(
        zone,
        fields.text("fingerprint", required=True),
        fields.texts("api"),
        fields.texts("xds"),
        _moment(fields),
    )
    fields.close()
    return found


def _service(name: str, one: Exported) -> dict[str, Any]:
    said: dict[str, Any] = {"name": name, "protocol": one.protocol.value, "healthy": one.healthy}
    if one.zones:
        said["zones"] = list(one.zones)
    if one.subsets:
        counted = sorted(one.subsets.items())
        said["subsets"] = [{"name": subset, "healthy": count} for subset, count in counted]
    return said


def _gateway(fields: Fields) -> Gateway:
    address, port = fields.text("address", required=True), fields.integer("port")
    try:
        ipaddress.ip_address(address)
    except ValueError:
        fields.wrong("address", f"{address!r} is not an IP address")
        address = _NOWHERE
    if not 0 < port <= MAX_PORT:
        fields.wrong("port", f"expected a port, 1 to {MAX_PORT}")
    fields.close()
    return Gateway(address, port)


def _services(fields: Fields) -> dict[str, Exported]:
    found = {}
    for one in fields.children("services"):
        name = one.name("name")
        protocol = Protocol(one.choice("protocol", (each.value for each in Protocol), "tcp"))
        healthy = one.integer("healthy")
        subsets = {}
        for subset in one.children("subsets"):
            subsets[subset.text("name", required=True)] = subset.integer("healthy")
            subset.close()
        zones = one.texts("zones")
        one.close()
        found[name] = Exported(protocol, healthy, subsets, zones)
    return found


def _moment(fields: Fields) -> datetime | None:
    text = fields.text("published_at")
    try:
        moment = datetime.fromisoformat(text) if text else None
    except ValueError:
        moment = None
    if text and (moment is None or moment.tzinfo is None):
        fields.wrong("published_at", f"{text!r} is not a date and time with its zone")
        return None
    return moment
