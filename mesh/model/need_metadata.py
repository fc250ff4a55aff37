"""Reading what a proxy needs from the metadata of its Envoy node, with all that is wrong in it."""

from __future__ import annotations

import ipaddress
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mesh.model import names
from mesh.model.hostport import MAX_PORT
from mesh.model.proxies import Capture, Inbound, ProxyNeed, Role, Upstream
from mesh.model.violations import Report

_RESERVED_LABELS = frozenset({"service", "zone"})
_FIELDS = {
    *("role", "service", "zone", "inbound", "upstreams", "id", "labels", "capture", "dns"),
    "metrics",
}


def parse(raw: Mapping[str, Any]) -> ProxyNeed:
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
    capture = reader.capture(raw, "capture")
    dns = reader.capture(raw, "dns")
    metrics = reader.place(raw.get("metrics", ""), "metrics")
    report.close()
    return ProxyNeed(
        *(service, zone, parsed_inbound, parsed, Role(role), str(name), labels),
        capture=capture,
        metrics=metrics,
        dns=dns,
    )


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
        if not isinstance(value, int) or isinstance(value, bool) or not 0 < value <= MAX_PORT:
            self.report.add(f"{path}{key}", f"expected a port, 1 to {MAX_PORT}")
            return 0
        return value

    def place(self, raw: object, key: str) -> str:
        if raw == "":
            return ""
        host, _, port = raw.rpartition(":") if isinstance(raw, str) else ("", "", "")
        digits = port.isascii() and port.isdigit() and len(port) <= len(str(MAX_PORT))
        valid = digits and 0 < int(port) <= MAX_PORT
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

    def capture(self, need: Mapping[str, Any], key: str) -> Capture | None:
        raw = need.get(key)
        if raw is None:
            return None
        if not isinstance(raw, Mapping):
            self.report.add(key, "expected an object")
            return None
        path = f"{key}."
        self.only(raw, path, {"address", "port", "also"})
        also = self.address(raw, "also", path) if "also" in raw else ""
        return Capture(self.address(raw, "address", path), self.port(raw, "port", path), also)

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
