"""Catalog definitions in request bodies, read into records."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

from mesh.embedded.decode import Body, canonical
from mesh.embedded.errors import RefusedError
from mesh.embedded.records import Check, Node, Service

_PROXY_KEYS = (
    "DestinationServiceName",
    "DestinationServiceID",
    "LocalServiceAddress",
    "LocalServicePort",
    "LocalServiceSocketPath",
    "Mode",
    "TransparentProxy",
    "Config",
    "Upstreams",
    "MeshGateway",
    "Expose",
    "AccessLogs",
)
_UPSTREAM_KEYS = (
    "DestinationType",
    "DestinationNamespace",
    "DestinationName",
    "Datacenter",
    "LocalBindAddress",
    "LocalBindPort",
    "LocalBindSocketPath",
    "LocalBindSocketMode",
    "Config",
    "MeshGateway",
    "IngressHosts",
)


def service(body: Body, *, node: str) -> Service:
    """Read a service as the catalog takes it."""
    name = body.text("Service") or body.text("Name")
    connect = {"Native": True} if body.body("Connect").flag("Native") else {}
    return Service(
        node=node,
        id=body.text("ID") or name,
        name=name,
        kind=body.text("Kind"),
        tags=body.texts("Tags"),
        address=body.text("Address"),
        tagged_addresses=body.any("TaggedAddresses"),
        meta=body.table("Meta"),
        port=body.number("Port"),
        weights=_weights(body),
        enable_tag_override=body.flag("EnableTagOverride"),
        proxy=_proxy(body),
        connect=connect,
    )


def node(body: Body) -> Node:
    """Read a node as the catalog takes it."""
    return Node(
        name=body.text("Node"),
        address=body.text("Address"),
        id=body.text("ID"),
        tagged_addresses=body.table("TaggedAddresses"),
        meta=body.table("NodeMeta") or body.table("Meta"),
    )


def check(body: Body, at: str) -> Check:
    """Read a check as the catalog takes it."""
    definition = body.any("Definition")
    return Check(
        node=body.text("Node") or at,
        id=body.text("CheckID") or body.text("Name"),
        name=body.text("Name") or body.text("CheckID"),
        status=body.text("Status") or "critical",
        notes=body.text("Notes"),
        output=body.text("Output"),
        service_id=body.text("ServiceID"),
        type=body.text("Type"),
        definition=definition if isinstance(definition, dict) else {},
    )


def _weights(body: Body) -> dict[str, int]:
    given = body.body("Weights")
    if "Weights" not in body:
        return {"Passing": 1, "Warning": 1}
    return {"Passing": given.number("Passing"), "Warning": given.number("Warning")}


def _proxy(body: Body) -> dict[str, Any]:
    given = body.any("Proxy")
    empty: dict[str, Any] = {"MeshGateway": {}, "Expose": {}}
    if not isinstance(given, dict):
        return empty
    proxy = canonical(given, _PROXY_KEYS)
    upstreams = proxy.get("Upstreams")
    if upstreams is not None and not isinstance(upstreams, list):
        raise RefusedError(
            "Request decode failed: Proxy.Upstreams is not a list", HTTPStatus.BAD_REQUEST
        )
    if upstreams:
        proxy["Upstreams"] = [_upstream(each) for each in upstreams if isinstance(each, dict)]
    return {**proxy, **{key: proxy.get(key) or value for key, value in empty.items()}}


def _upstream(given: dict[str, Any]) -> dict[str, Any]:
    named = canonical(given, _UPSTREAM_KEYS)
    return {
        "DestinationType": "",
        "DestinationName": "",
        "Datacenter": "",
        "LocalBindPort": 0,
        "Config": None,
        "MeshGateway": {},
        **named,
    }
