"""What somebody wants of a host: one service in the mesh."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from mesh.model.violations import Report

HEALTH_KINDS: Final = ("tcp", "http", "none")


@dataclass(frozen=True, slots=True)
class Capture:
    """Whose connections are captured: those of users and cgroups; everybody's if both are empty."""

    users: tuple[str, ...] = ()
    cgroups: tuple[str, ...] = ()
    to: Literal["mesh", "all"] = "mesh"
    inbound: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Join:
    """One service of a host.

    Attributes:
        service: its name.
        app: where the application listens, ``address:port``.
        zone_api: addresses of the zone's API.
        upstreams: as ``mesh proxy --upstream`` takes them.
        health: the section ``health`` of the proxy's settings; empty for its default.
        registration: with whom the instance is registered.
        capture: whose connections are captured; None for nobody's.
        trust_domain: of the mesh; empty if it is not known.
        more: further settings of the proxy, laid under the ones above.

    """

    service: str
    app: str
    zone_api: tuple[str, ...]
    upstreams: tuple[str, ...] = ()
    health: Mapping[str, str] = field(default_factory=dict)
    registration: Literal["consul", "zone", "none"] = "zone"
    capture: Capture | None = None
    trust_domain: str = ""
    more: Mapping[str, Any] = field(default_factory=dict)


def health(text: str, report: Report) -> dict[str, str]:
    """Read ``tcp``, ``none`` or ``http[:/path]``, each with ``@interval`` if wanted.

    ``http:/healthz@5s`` is a GET of ``/healthz`` every five seconds.
    """
    what, at, interval = text.partition("@")
    kind, colon, path = what.partition(":")
    if kind not in HEALTH_KINDS or (colon and kind != "http") or (at and not interval):
        report.add("--health", f"{text!r} is no check: write tcp, none, http or http:/healthz@10s")
        return {}
    found = {"kind": kind}
    if colon:
        found["path"] = path
    if at:
        found["interval"] = interval
    return found
