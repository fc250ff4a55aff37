"""Short ways to write the policies of the traffic tests."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import yaml

WEB = {"kind": "Dataplane", "labels": {"service": "web"}}
"""A ``targetRef``: the proxies of ``web``."""


def http_route(
    rules: str,
    *,
    service: str = "api",
    name: str = "routes",
    proxies: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Return a MeshHTTPRoute of ``rules`` (YAML) for calls to ``service``."""
    return _route("MeshHTTPRoute", rules, service, name, proxies)


def tcp_route(rules: str, *, service: str = "store", name: str = "routes") -> dict[str, Any]:
    """Return a MeshTCPRoute of ``rules`` (YAML) for connections to ``service``."""
    return _route("MeshTCPRoute", rules, service, name, None)


def policy(
    kind: str, conf: str, *, service: str = "api", route: str = "", name: str = "policy"
) -> dict[str, Any]:
    """Return a policy that says ``conf`` (YAML) about calls to ``service``, or by ``route``."""
    target = {"kind": "MeshService", "name": service}
    if route:
        target = {"kind": "MeshHTTPRoute", "name": route}
    to = [{"targetRef": target, "default": yaml.safe_load(conf)}]
    return {"type": kind, "name": name, "spec": {"to": to}}


def _route(
    kind: str, rules: str, service: str, name: str, proxies: Mapping[str, Any] | None
) -> dict[str, Any]:
    target = {"kind": "MeshService", "name": service}
    spec: dict[str, Any] = {"to": [{"targetRef": target, "rules": yaml.safe_load(rules)}]}
    if proxies is not None:
        spec["targetRef"] = dict(proxies)
    return {"type": kind, "name": name, "spec": spec}
