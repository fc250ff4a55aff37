"""What the entries' readers share: the frame of an entry, names, durations, counts.  Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Final

from mesh.clients.consul.fields import Fields
from mesh.clients.consul.intention_entries import BOOKKEEPING, default_tenancy
from mesh.model.entries import GatewayMode
from mesh.model.names import InvalidNameError, zone_name
from mesh.model.violations import Report
from mesh.policies.intentions.re2 import InvalidRegexError, compile_re2
from mesh.sources.consul.problems import Raw

LONGEST: Final = 366 * 24 * 3600.0
"""Seconds: no sensible duration is longer, and Envoy cannot count all that Go can."""
MOST: Final = 2**32 - 1
"""The largest count that Envoy takes."""

_SUBSET: Final = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f]")


class Entry:
    """One entry while it is read: its fields, and the report that gathers what is wrong."""

    def __init__(self, kind: str, raw: Raw) -> None:
        """Begin to read ``raw``, an entry of ``kind``."""
        self.report = Report(f"{kind} {raw.get('Name', '')}".strip())
        self.fields = Fields(raw, "", self.report)
        default_tenancy(self.fields)

    def close(self) -> None:
        """End.

        Raises:
            InvalidInputError: with every violation.

        """
        self.fields.skip(BOOKKEEPING)
        self.fields.close()
        self.report.close()

    def named(self, fields: Fields, name: str) -> Iterator[tuple[str, Fields]]:
        """Yield the objects of the map at ``name``, whose keys are the user's."""
        found = fields.raw(name)
        if found is None:
            return
        if not isinstance(found, Mapping):
            fields.wrong(name, "expected an object")
            return
        for key, value in found.items():
            yield str(key), Fields(value, fields.at(f"{name}.{key}"), self.report)


def refuse_enterprise(fields: Fields) -> None:
    """Refuse what leads out of the default namespace, partition and cluster."""
    default_tenancy(fields)
    if fields.text("SamenessGroup"):
        fields.wrong("SamenessGroup", "is Consul Enterprise's; name the services instead")
    if fields.text("Peer"):
        fields.wrong("Peer", "is not possible: other zones are reached by Datacenter")


def service(fields: Fields, name: str = "Service") -> str:
    """Return the name of a service, if any is given."""
    value = fields.text(name)
    return fields.name(name) if value else ""


def subset(fields: Fields, name: str = "ServiceSubset") -> str:
    """Return the name of a subset, if any is given."""
    value = fields.text(name)
    if value:
        check_subset(fields, name, value)
    return value


def check_subset(fields: Fields, name: str, value: str) -> None:
    """Note if ``value`` cannot name a subset: it becomes a part of a server name."""
    if not _SUBSET.fullmatch(value):
        fields.wrong(
            name,
            f"{value!r} cannot name a subset: use 1 to 63 lower-case letters, digits or '-', "
            "starting and ending with a letter or digit",
        )


def zone(fields: Fields, name: str) -> str:
    """Return the name of a zone, if any is given."""
    value = fields.text(name)
    if value:
        check_zone(fields, name, value)
    return value


def check_zone(fields: Fields, name: str, value: str) -> None:
    """Note if ``value`` cannot name a zone."""
    try:
        zone_name(value)
    except InvalidNameError as error:
        fields.wrong(name, str(error))


def gateway_mode(fields: Fields) -> GatewayMode:
    """Return what ``MeshGateway`` says: by whose gateway calls to other zones go."""
    said = fields.child("MeshGateway")
    if said is None:
        return GatewayMode.UNSAID
    mode = GatewayMode(said.choice("Mode", (one.value for one in GatewayMode), ""))
    said.close()
    return mode


def duration(fields: Fields, name: str) -> float:
    """Return a duration in seconds, 0 where none is given."""
    value = fields.seconds(name, 0.0)
    if value > LONGEST:
        fields.wrong(name, f"must not be over {LONGEST:.0f} s")
    return value


def duration_or_off(entry: Entry, fields: Fields, name: str) -> float:
    """Return a duration in seconds; a negative one turns the timeout off, as in Consul."""
    value = fields.raw(name)
    if isinstance(value, int) and not isinstance(value, bool) and value < 0:
        return value / 1e9
    if isinstance(value, str) and value.startswith("-"):
        return -duration(Fields({name: value[1:]}, fields.at(""), entry.report), name)
    return duration(fields, name)


def milliseconds(fields: Fields, name: str) -> float | None:
    """Return a duration in seconds that is given in milliseconds; 0 is as good as none."""
    value = fields.integer(name)
    if value > LONGEST * 1000:
        fields.wrong(name, f"must not be over {LONGEST * 1000:.0f}")
    return value / 1000 or None


def count(fields: Fields, name: str, most: int = MOST) -> int | None:
    """Return a whole number up to ``most``, None where none is given."""
    if fields.raw(name) is None:
        return None
    value = fields.integer(name)
    if value > most:
        fields.wrong(name, f"must not be over {most}")
    return value


def visible(fields: Fields, name: str) -> str:
    """Return a text that Envoy can put into a request: one without control characters."""
    value = fields.text(name)
    if _CONTROL.search(value):
        fields.wrong(name, "has a control character")
    return value


def regex(fields: Fields, name: str, value: str) -> None:
    """Note if ``value`` is not an RE2 expression that Envoy and the mesh can use."""
    try:
        compile_re2(value)
    except InvalidRegexError as error:
        fields.wrong(name, f"is no usable RE2 expression: {error}")
