"""Virtual addresses as the zone's leader keeps them in the KV store.  Pure.

``mesh/vips/<service>`` is ``{"ipv4", "ipv6", "released_at"}``; a released address is in nobody's
use.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable

import msgspec

from mesh.clients.consul import KeyValue
from mesh.clients.consul.fields import Fields
from mesh.model.violations import Report
from mesh.sources.consul.problems import Raw

KIND = "virtual-address"
PREFIX = "mesh/vips/"


class Released(tuple[str, str]):
    """The addresses of a service that holds them no more."""

    __slots__ = ()


def raw_addresses(pairs: Iterable[KeyValue]) -> dict[str, Raw]:
    """Return the documents, still unread, by service."""
    return {
        pair.key.removeprefix(PREFIX): {"key": pair.key, "value": pair.data}
        for pair in pairs
        if pair.key != PREFIX
    }


def parse_addresses(raw: Raw) -> tuple[str, str]:
    """Read one document: the IPv4 and the IPv6 address.

    Raises:
        InvalidInputError: with every violation.

    """
    report = Report(f"key {raw['key']}")
    try:
        document = msgspec.json.decode(raw["value"])
    except (ValueError, RecursionError) as error:
        report.add("", f"is not JSON: {error}")
        document = {"ipv4": "0.0.0.0", "ipv6": "::"}  # noqa: S104 - stands in; refused below
    fields = Fields(document, "", report)
    found = (_address(fields, "ipv4", 4), _address(fields, "ipv6", 6))
    released = bool(fields.text("released_at"))
    fields.close()
    report.close()
    return Released(found) if released else found


def _address(fields: Fields, name: str, version: int) -> str:
    value = fields.text(name, required=True)
    try:
        parsed = ipaddress.ip_address(value)
    except ValueError:
        parsed = None
    if value and (parsed is None or parsed.version != version):
        fields.wrong(name, f"{value!r} is not an IPv{version} address")
    return str(parsed)
