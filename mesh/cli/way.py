"""The way of a call, for people: routes, targets, instances, and who said what."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

Json = Mapping[str, Any]

_MARKS: Final = {"used": ">", "standby": " ", "critical": "×", "not in the subset": "-"}
_ROUTE: Final = (
    ("timeouts", "timeouts", ("timeouts.", "MeshTimeout.http.")),
    ("retries", "retry", ("retry", "MeshRetry.")),
    ("path", "path", ("path",)),
    ("host", "host", ()),
    ("request headers", "request_headers", ()),
    ("response headers", "response_headers", ()),
    ("mirrored", "mirrors", ()),
    ("hashed by", "hashing", ("hashing", "MeshLoadBalancingStrategy.")),
    ("cross-origin", "cors", ()),
)
"""What a route has: for people, in the document, and how the origins of it begin."""
_TARGET: Final = (
    ("connect timeout", "connect_timeout", ("connect_timeout", "MeshTimeout.connectionTimeout")),
    ("idle timeout", "idle_timeout", ("idle_timeout", "MeshTimeout.idleTimeout")),
    ("longest connection", "max_duration", ("max_duration", "MeshTimeout.")),
    ("connect attempts", "connect_attempts", ("MeshRetry.tcp",)),
    ("limits", "limits", ("limits", "MeshCircuitBreaker.connectionLimits", "MeshRetry.")),
    ("outlier detection", "outlier", ("outlier", "MeshCircuitBreaker.outlierDetection")),
    ("health check", "probe", ("MeshHealthCheck.",)),
    ("load balancing", "balancing", ("balancing", "hashing", "MeshLoadBalancingStrategy.")),
)
_CALLEE: Final = (
    ("connect timeout", "connect_timeout"),
    ("idle timeout", "idle_timeout"),
    ("limits", "limits"),
    ("new connections", "connection_rate"),
)
_CALLEE_ROUTE: Final = (
    ("timeouts", "timeouts"),
    ("rate limit", "limit"),
    ("global limits", "global_limits"),
    ("faults", "fault"),
    ("end user's token", "token"),
    ("authorization", "authorization"),
)
_SECONDS: Final = frozenset(
    {
        "backoff_base",
        "backoff_max",
        "base_ejection",
        "connect_timeout",
        "idle",
        "idle_timeout",
        "interval",
        "max_age",
        "max_duration",
        "max_ejection",
        "per_try",
        "request",
        "seconds",
        "slow_start",
        "timeout",
        "ttl",
    }
)
"""Fields that are durations."""
_DEFAULT: Final = "default"
_WIDTH: Final = 20


def lines(explained: Json) -> list[str]:
    """Write the way that is part of what was ``explained``; nothing without one."""
    way = explained.get("way")
    return [] if way is None else list(_lines(explained, way))


def _lines(explained: Json, way: Json) -> Iterator[str]:
    request, proxy = way["request"], explained.get("proxy")
    asked = f" {request['method']} {request['path']}" if way["protocol"] != "tcp" else ""
    seen = f", from proxy {proxy}" if proxy else ""
    yield ""
    yield f"The way of{asked or ' a connection'}{seen}:"
    others = explained.get("proxies_that_may_differ")
    if others:
        yield f"  Other policies concern {', '.join(others)}: see --source-proxy."
    for fault in way["faults"]:
        place = ": ".join(filter(None, (fault["entry"], fault["path"])))
        yield f"  cannot be routed: {place}: {fault['message']}"
    if explained.get("last_good_stands"):
        yield "  What there was before stands; this is what a proxy that starts now would have:"
    for number, route in enumerate(way["routes"], 1):
        mark = ">" if route["taken"] else " "
        said = f"  ({route['document']})" if route["document"] else ""
        yield f"  {mark} {number}. {route['match']}: {route['action']}{said}"
    route = way["route"]
    for name, key, begins in _ROUTE:
        if route.get(key):
            yield _said("    ", name, _value(key, route[key]), _origins(route["origins"], begins))
    for target in way["targets"]:
        yield from _target(target)
    if way["overruled"]:
        yield "  Overruled:"
        yield from (f"    {each['field']} of {each['document']}" for each in way["overruled"])


def _target(target: Json) -> Iterator[str]:
    yield f"  → {target['target']} {target['percent']:g}% ({target['protocol']})"
    by = f", by {target['refused_by']}" if target["refused_by"] else ""
    yield f"    {'allowed' if target['allowed'] else 'not allowed'}{by}: {target['reason']}"
    settings = target["settings"]
    for name, key, begins in _TARGET:
        if settings.get(key):
            yield _said(
                "    ", name, _value(key, settings[key]), _origins(target["origins"], begins)
            )
    if target["egress"]:
        yield from _egress(target["egress"])
    if target["external"]:
        hosts = (f"{each['address']}:{each['port']}" for each in target["external"]["hosts"])
        yield f"    outside the mesh: {', '.join(hosts)}"
    elif target["endpoints"] or target["unknown"]:
        yield "    instances (> gets traffic now):"
        yield from map(_endpoint, target["endpoints"])
        yield from (f"      those of {name} are not known here" for name in target["unknown"])
    else:
        yield "    no instances"
    yield from map(_zone, target["zones"])
    for callee in target["callee"]:
        yield from _callee(callee)


def _egress(way: Json) -> Iterator[str]:
    yield f"    leaves by egress for {way['server_name']}, judged by {way['judge']}"
    if way.get("hosts"):
        yield f"    outside the mesh: {', '.join(way['hosts'])}"
    if way.get("warning"):
        yield f"    closed: {way['warning']}"


def _endpoint(endpoint: Json) -> str:
    words = [
        _MARKS[endpoint["standing"]],
        endpoint["id"],
        f"{endpoint['address']}:{endpoint['port']}",
        endpoint["health"],
        f"weight {endpoint['weight']}",
        f"priority {endpoint['priority']}",
        endpoint["locality"] and f"in {endpoint['locality']}",
        f"({endpoint['standing']})" if endpoint["standing"] != "used" else "",
    ]
    if endpoint["egress"]:
        words[1] = f"egress gateway {endpoint['id']}"
        words[4:5] = [f"for {endpoint['gateway_for']}"]
    elif endpoint["gateway_for"]:
        # Of who answers behind a gateway nothing is known but that somebody does.
        words[1] = f"gateway of zone {endpoint['zone']}"
        words[3:5] = [f"for {endpoint['gateway_for']}"]
    return "      " + " ".join(filter(None, words))


def _zone(zone: Json) -> str:
    distance = zone["distance_ms"]
    far = f", {distance:g} ms away" if distance is not None else ""
    tried = "stands in" if zone["tried"] else "does not stand in"
    return f"    zone {zone['zone']}{far} {tried}: {zone['why']}"


def _callee(callee: Json) -> Iterator[str]:
    who = f" ({', '.join(callee['proxies'])})" if callee["proxies"] else ""
    yield f"    at the callee{who}:"
    origins = callee["origins"]
    by = origins.get("MeshTLS", _DEFAULT)
    yield _said("      ", "TLS", callee["mode"], [by])
    for name, key in _CALLEE:
        if callee.get(key):
            yield _said("      ", name, _value(key, callee[key]), sorted(set(origins.values())))
    route = callee["route"]
    if route is None:
        return
    if len(route) > len(("match", "origins")):
        yield f"      > {route['match']}"
    for name, key in _CALLEE_ROUTE:
        if route.get(key):
            yield _said(
                "      ", name, _value(key, route[key]), sorted(set(route["origins"].values()))
            )


def _said(indent: str, name: str, value: str, origins: Iterable[str]) -> str:
    by = ", ".join(origins)
    return f"{indent}{name:<{_WIDTH}}{value}" + (f"  ({by})" if by else "")


def _origins(origins: Mapping[str, str], begins: tuple[str, ...]) -> list[str]:
    """Return who said a thing: the documents by whose fields it came about, or the default."""
    if not begins:
        return []
    found = {label: None for field, label in origins.items() if field.startswith(begins)}
    return list(found) or [_DEFAULT]


def _value(key: str, value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(_words(value))
    if isinstance(value, list):
        return "; ".join(_value("", each) for each in value)
    if isinstance(value, int | float) and key in _SECONDS:
        return f"{value:g} s"
    return f"{value:g}" if isinstance(value, float) else str(value)


def _words(said: Json) -> Iterator[str]:
    for key, value in said.items():
        name = key.replace("_", " ")
        if isinstance(value, bool):
            if value:
                yield name
            continue
        text = _value(key, value)
        yield f"{name} [{text}]" if isinstance(value, Mapping | list) else f"{name} {text}"
