"""What one proxy needs from the mesh: its role, its inbound side, its upstreams.

The agent writes a :class:`ProxyNeed` into the Envoy node's metadata; the zone reads it from
the first xDS request, checks it against the certificate, and renders from it.
"""

from __future__ import annotations

import enum
import ipaddress
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from types import MappingProxyType
from typing import Any, Self

from mesh.model import names
from mesh.model.violations import Report

METADATA_KEY = "mesh"
"""Key of the Envoy node's metadata under which the need travels."""

_MAX_PORT = 65_535
_RESERVED_LABELS = frozenset({"service", "zone"})
_FIELDS = {
    *("role", "service", "zone", "inbound", "upstreams", "id", "labels", "capture", "metrics"),
}


class Role(enum.StrEnum):
    """What a proxy is for."""

    SIDECAR = "sidecar"
    ZONE_GATEWAY = "zone-gateway"
    """Lets calls from other zones in, by name and without decrypting them."""
    EDGE = "edge"
    """Serves clients outside the mesh, and calls services as a sidecar does."""
    EGRESS = "egress"
    """Lets calls out: to other zones as they are, to external services if intentions allow it."""


GATEWAYS: Mapping[Role, str] = MappingProxyType(
    {Role.ZONE_GATEWAY: names.ZONE_GATEWAY, Role.EGRESS: names.ZONE_EGRESS}
)
"""What gateways are called, and nobody else may be."""


@dataclass(frozen=True, slots=True)
class Inbound:
    """Where the sidecar listens for the mesh, and where it finds its application.

    Addresses are IP literals; ports are 1 to 65535.
    """

    address: str
    port: int
    local_address: str
    local_port: int


@dataclass(frozen=True, slots=True)
class Upstream:
    """A service that the application dials at ``address``:``port`` on its own host.

    With a ``zone`` it is only ever that one's.
    """

    service: str
    port: int
    address: str = "127.0.0.1"
    zone: str = ""

    @property
    def called(self) -> str:
        """What calls to it are known as: ``api``, or ``api@west``."""
        return f"{self.service}@{self.zone}" if self.zone else self.service


@dataclass(frozen=True, slots=True)
class Capture:
    """Where the proxy takes connections of its application that were redirected to it."""

    address: str
    port: int


@dataclass(frozen=True, slots=True)
class ProxyNeed:
    """All that the renderer knows of one proxy.

    ``inbound`` is None for a proxy that only calls.  ``id`` is that of its instance; policies
    select by it and by :attr:`all_labels`.  ``metrics`` is where its agent tells how calls go,
    ``host:port`` with an IP literal or, for the address that the proxy comes from, none; it is
    empty if the zone cannot ask.
    """

    service: str
    zone: str
    inbound: Inbound | None
    upstreams: tuple[Upstream, ...] = ()
    role: Role = Role.SIDECAR
    id: str = ""
    labels: tuple[tuple[str, str], ...] = ()
    capture: Capture | None = None
    metrics: str = ""

    @property
    def all_labels(self) -> dict[str, str]:
        """What policies select by: the proxy's own labels, its ``service`` and its ``zone``."""
        return {**dict(self.labels), "service": self.service, "zone": self.zone}

    @property
    def locality(self) -> str:
        """Where the proxy stands, by its label ``locality``; empty if nobody said."""
        return dict(self.labels).get("locality", "")

    def to_metadata(self) -> dict[str, Any]:
        """Return the JSON object that :meth:`from_metadata` reads."""
        return {
            "role": self.role.value,
            "service": self.service,
            "zone": self.zone,
            "inbound": asdict(self.inbound) if self.inbound else None,
            "upstreams": [_upstream(upstream) for upstream in self.upstreams],
            "id": self.id,
            "labels": dict(self.labels),
            **({"capture": asdict(self.capture)} if self.capture else {}),
            **({"metrics": self.metrics} if self.metrics else {}),
        }

    @classmethod
    def from_metadata(cls, raw: Mapping[str, Any]) -> Self:
        """Read the metadata of an Envoy node.

        Raises:
            InvalidInputError: with every violation, when anything is missing, unknown or wrong.

        """
        report = Report("node metadata 'mesh'")
        reader = _Reader(report)
        reader.only(raw, "", _FIELDS)
        role = raw.get("role", Role.SIDECAR.value)
        if not isinstance(role, str) or role not in set(Role):
            report.add("role", f"unknown role {role!r}")
        service = reader.name(raw, "service")
        zone = reader.text(raw, "zone")
        inbound = raw.get("inbound")
        parsed_inbound = reader.inbound(inbound) if inbound is not None else None
        upstreams = raw.get("upstreams") or []
        parsed = reader.upstreams(upstreams)
        name = raw.get("id", "")
        if not isinstance(name, str):
            report.add("id", "expected text")
        labels = reader.labels(raw.get("labels") or {})
        capture = reader.capture(raw.get("capture"))
        metrics = reader.place(raw.get("metrics", ""), "metrics")
        report.close()
        return cls(
            service, zone, parsed_inbound, parsed, Role(role), str(name), labels, capture, metrics
        )


def _upstream(one: Upstream) -> dict[str, Any]:
    said = asdict(one)
    # A zone of an earlier release knows no such field.
    return said if one.zone else {name: value for name, value in said.items() if name != "zone"}


@dataclass(frozen=True, slots=True)
class _Reader:
    """Typed access to untyped JSON that notes what is wrong and goes on."""

    report: Report

    def only(self, raw: Mapping[str, Any], path: str, known: set[str]) -> None:
        for key in sorted(set(raw) - known):
            self.report.add(f"{path}{key}", "unknown field")

    def text(self, raw: Mapping[str, Any], key: str, path: str = "") -> str:
        value = raw.get(key)
        if not isinstance(value, str) or not value:
            self.report.add(f"{path}{key}", "expected a non-empty string")
            return ""
        # Thousands of proxies name the same services.
        return sys.intern(value)

    def name(self, raw: Mapping[str, Any], key: str, path: str = "") -> str:
        value = self.text(raw, key, path)
        if value:
            try:
                names.service_name(value)
            except names.InvalidNameError as error:
                self.report.add(f"{path}{key}", str(error))
        return value

    def zone(self, raw: Mapping[str, Any], path: str) -> str:
        value = self.text(raw, "zone", path)
        if value:
            try:
                names.zone_name(value)
            except names.InvalidNameError as error:
                self.report.add(f"{path}zone", str(error))
        return value

    def address(self, raw: Mapping[str, Any], key: str, path: str) -> str:
        value = self.text(raw, key, path)
        if value:
            try:
                ipaddress.ip_address(value)
            except ValueError:
                self.report.add(f"{path}{key}", f"{value!r} is not an IP address")
        return value

    def port(self, raw: Mapping[str, Any], key: str, path: str) -> int:
        value = raw.get(key)
        # Envoy's Struct carries every number as a double.
        if isinstance(value, float) and value.is_integer():
            value = int(value)
        if not isinstance(value, int) or isinstance(value, bool) or not 0 < value <= _MAX_PORT:
            self.report.add(f"{path}{key}", f"expected a port, 1 to {_MAX_PORT}")
            return 0
        return value

    def place(self, raw: object, key: str) -> str:
        if raw == "":
            return ""
        host, _, port = raw.rpartition(":") if isinstance(raw, str) else ("", "", "")
        valid = port.isascii() and port.isdigit() and 0 < int(port) <= _MAX_PORT
        try:
            if host:
                ipaddress.ip_address(host.removeprefix("[").removesuffix("]"))
        except ValueError:
            valid = False
        if not valid:
            self.report.add(key, f"{raw!r} is not an IP address and a port")
            return ""
        return str(raw)

    def inbound(self, raw: object) -> Inbound | None:
        if not isinstance(raw, Mapping):
            self.report.add("inbound", "expected an object")
            return None
        self.only(raw, "inbound.", {"address", "port", "local_address", "local_port"})
        return Inbound(
            self.address(raw, "address", "inbound."),
            self.port(raw, "port", "inbound."),
            self.address(raw, "local_address", "inbound."),
            self.port(raw, "local_port", "inbound."),
        )

    def capture(self, raw: object) -> Capture | None:
        if raw is None:
            return None
        if not isinstance(raw, Mapping):
            self.report.add("capture", "expected an object")
            return None
        self.only(raw, "capture.", {"address", "port"})
        return Capture(self.address(raw, "address", "capture."), self.port(raw, "port", "capture."))

    def labels(self, raw: object) -> tuple[tuple[str, str], ...]:
        if not isinstance(raw, Mapping):
            self.report.add("labels", "expected an object")
            return ()
        for key, value in raw.items():
            if not isinstance(value, str):
                self.report.add(f"labels.{key}", "expected text")
            if key in _RESERVED_LABELS:
                self.report.add(f"labels.{key}", "is told by the certificate, not by a label")
        # Few places and versions, many proxies.
        return tuple(sorted((sys.intern(str(key)), sys.intern(str(raw[key]))) for key in raw))

    def upstreams(self, raw: object) -> tuple[Upstream, ...]:
        if not isinstance(raw, list | tuple):
            self.report.add("upstreams", "expected a list")
            return ()
        found: list[Upstream] = []
        taken: dict[tuple[str, int], int] = {}
        for index, item in enumerate(raw):
            path = f"upstreams[{index}]."
            if not isinstance(item, Mapping):
                self.report.add(path[:-1], "expected an object")
                continue
            self.only(item, path, {"service", "port", "address", "zone"})
            upstream = Upstream(
                self.name(item, "service", path),
                self.port(item, "port", path),
                self.address({"address": "127.0.0.1", **item}, "address", path),
                self.zone(item, path) if item.get("zone") else "",
            )
            place = (upstream.address, upstream.port)
            if place in taken:
                self.report.add(f"{path}port", f"already taken by upstreams[{taken[place]}]")
            taken[place] = index
            found.append(upstream)
        return tuple(found)
