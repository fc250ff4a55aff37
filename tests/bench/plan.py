"""Who is in a simulated fleet, and whom it connects to."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from mesh.model import need_metadata
from mesh.model.proxies import ProxyNeed


@dataclass(frozen=True, slots=True)
class Member:
    """One proxy of the plan: what it needs, and its certificate."""

    need: ProxyNeed
    certificate: str
    key: str


@dataclass(frozen=True, slots=True)
class Plan:
    """Where the zone is, what to trust, and who connects."""

    host: str
    port: int
    server_name: str
    bundle: str
    members: tuple[Member, ...]


def read_plan(path: Path) -> Plan:
    """Read ``{"host", "port", "server_name", "bundle", "proxies": [...]}``.

    Each proxy is ``{"certificate", "key", "need"}``: two PEM files and the object of
    ``ProxyNeed.to_metadata``.  Proxies may share files.
    """
    raw = json.loads(path.read_text())
    members = tuple(
        Member(need_metadata.parse(one["need"]), one["certificate"], one["key"])
        for one in raw["proxies"]
    )
    return Plan(raw["host"], raw["port"], raw["server_name"], raw["bundle"], members)
