"""What a host gets, planned from its inventory: plain values in, plain values out.

``problems`` says everything that is wrong with a host's services, before anything is touched;
``proxies`` lays out their proxies; ``gateway`` that of a gateway; ``capture`` the file that the
capture of the host's traffic is made from.  The tasks only write down what comes out.
"""

from __future__ import annotations

import ipaddress
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

INBOUND: Final = 15006
CAPTURE: Final = 15001
READINESS: Final = 15020
STEP: Final = 10
"""How far the ports of a host's second proxy are from those of its first."""
DNS: Final = 15053
GATEWAY_READINESS: Final = 15009
GATEWAY_PORTS: Final = {"ingress": 10001, "egress": 10002, "edge": 10003}
_GATEWAY_ROLES: Final = {"ingress": "zone-gateway", "egress": "egress", "edge": "edge"}
_GATEWAY_SERVICES: Final = {"ingress": "mesh-gateway", "egress": "mesh-egress"}
_ZONE: Final[Mapping[str, Any]] = {
    "unit": "mesh-zone.service",
    "ready": "http://127.0.0.1:5680/ready",
}
_NO_CREDENTIALS: Final[Mapping[str, Any]] = {"consul_token": False, "identity": ""}
_MAX_PORT: Final = 65535
_SETTINGS: Final = re.compile(r"proxy-(.+)\.yaml")
_NAME: Final = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
_UPSTREAM: Final = re.compile(r"([a-z0-9-]+)(\.[a-z0-9-]+)?:(?:(.+):)?(\d+)")

Service = Mapping[str, Any]
Values = dict[str, Any]


def problems(services: Sequence[Service]) -> list[str]:
    """Return a sentence for each thing that is wrong with ``services``, and what to do."""
    return [*_wrong_names(services), *_wrong_upstreams(services), *_shared(services)]


def proxies(
    services: Sequence[Service], common: Mapping[str, Any], credentials: Mapping[str, Any]
) -> list[Values]:
    """Return the proxies of a host: unit, service, files and settings of each.

    ``common`` is what all proxies of the host have in their settings; ``credentials`` says which
    of them root hands over: ``consul_token`` to register with, ``identity`` to enrol with.
    """
    with_dns = next((each["name"] for each in services if _captures(each)), None)
    return [
        _instance(
            f"mesh-proxy@{service['name']}.service",
            service["name"],
            f"proxy-{service['name']}",
            {
                **_proxy(service, index),
                **({"dns": f"127.0.0.1:{DNS}"} if service["name"] == with_dns else {}),
                **common,
                **(service.get("settings") or {}),
            },
            credentials,
        )
        for index, service in enumerate(services)
    ]


def gateway(
    said: Mapping[str, Any], common: Mapping[str, Any], credentials: Mapping[str, Any]
) -> list[Values]:
    """Return the gateway of a host, as :func:`proxies` does."""
    role = said["role"]
    service = _GATEWAY_SERVICES.get(role) or said["name"]
    settings = {
        "role": _GATEWAY_ROLES[role],
        "service": service,
        "inbound_port": said.get("port") or GATEWAY_PORTS[role],
        "listen": f"127.0.0.1:{GATEWAY_READINESS}",
        **_given(said, "wan_address"),
        **common,
        **(said.get("settings") or {}),
    }
    return [_instance("mesh-gateway.service", service, "gateway", settings, credentials)]


def daemons(
    groups: Sequence[str], services: Sequence[Service], said: Mapping[str, Any], common: Values
) -> list[Values]:
    """Return all daemons of a host in ``groups``: unit, readiness, and state of each.

    ``said`` is its gateway, ``common`` what all its proxies have in their settings.
    """
    found: list[Mapping[str, Any]] = [_ZONE] if "mesh_zone" in groups else []
    found += gateway(said, common, _NO_CREDENTIALS) if "mesh_gateways" in groups else []
    found += proxies(services, common, _NO_CREDENTIALS) if "mesh_hosts" in groups else []
    return [{key: each.get(key) for key in ("unit", "ready", "state")} for each in found]


def gone(paths: Iterable[str], wanted: Iterable[Mapping[str, Any]]) -> list[Values]:
    """Return the proxies whose settings are among ``paths`` and which are not ``wanted``."""
    units = {each["unit"] for each in wanted}
    names = [
        found[1]
        for each in sorted(paths)
        if (found := _SETTINGS.fullmatch(each.rpartition("/")[2]))
    ]
    there = [_places(f"mesh-proxy@{name}.service", name, f"proxy-{name}") for name in names]
    return [each for each in there if each["unit"] not in units]


def left_behind(instance: Mapping[str, Any]) -> list[str]:
    """Return the files and directories of a proxy or gateway."""
    names = ("file", "token_file", "consul_file", "state")
    return [*(instance[name] for name in names), f"/etc/systemd/system/{instance['unit']}.d"]


def capture(services: Sequence[Service], trust_domain: str, exclude: Mapping[str, Any]) -> Values:
    """Return ``/etc/mesh/capture.yaml``; empty where no service is captured."""
    captured = [
        _captured(service, service["capture"], index)
        for index, service in enumerate(services)
        if service.get("capture") is not None
    ]
    if not captured:
        return {}
    names = {"dns": {"port": DNS}}
    return {
        "trust_domain": trust_domain,
        "proxies": captured,
        **_given({"exclude": exclude}, "exclude"),
        **(names if any(_captures(each) for each in services) else {}),
    }


def _places(unit: str, service: str, files: str) -> Values:
    state = f"/var/lib/mesh/{files.removeprefix('proxy-')}"
    return {
        "unit": unit,
        "service": service,
        "file": f"/etc/mesh/{files}.yaml",
        "token_file": f"/etc/mesh/{files}.token",
        "consul_file": f"/etc/mesh/{files}.consul-token",
        "state": state,
        "certificate": f"{state}/svid.json",
    }


def _instance(
    unit: str, service: str, files: str, settings: Values, credentials: Mapping[str, Any]
) -> Values:
    handed = f"/run/credentials/{unit}/consul-token"
    if credentials["consul_token"]:
        settings["consul"] = {**settings.get("consul", {}), "token_file": handed}
    if credentials["identity"] == "consul":
        settings |= {"consul_token_file": handed, "bundle_file": "/etc/mesh/bundle.pem"}
    ready = f"http://{settings['listen']}/ready"
    return {**_places(unit, service, files), "ready": ready, "settings": settings}


def _proxy(service: Service, index: int) -> Values:
    return {
        "service": service["name"],
        **({"app": f"127.0.0.1:{service['port']}"} if service.get("port") else {}),
        "inbound_port": INBOUND + STEP * index,
        "listen": f"127.0.0.1:{READINESS + STEP * index}",
        **({"capture": f"127.0.0.1:{CAPTURE + STEP * index}"} if _captures(service) else {}),
        **_given(service, "upstreams"),
        **_given(service, "health"),
    }


def _captures(service: Service) -> bool:
    """Tell whether the service's own connections are captured."""
    said = service.get("capture")
    return said is not None and said.get("outbound") is not False


def _captured(service: Service, said: Mapping[str, Any], index: int) -> Values:
    port = service.get("port")
    inbound = {port: INBOUND + STEP * index} if said.get("inbound") and port else {}
    outbound = {"outbound": CAPTURE + STEP * index, "to": said.get("to") or "mesh"}
    return {
        "service": service["name"],
        **_given(said, "users"),
        **_given(said, "cgroups"),
        **(outbound if _captures(service) else {}),
        **({"inbound": inbound} if inbound else {}),
    }


def _given(said: Mapping[str, Any], name: str) -> Values:
    """Return what is said under ``name``, without the fields of it that are not."""
    value = said.get(name)
    if isinstance(value, Mapping):
        value = {key: each for key, each in value.items() if each is not None}
    return {name: value} if value else {}


def _wrong_names(services: Sequence[Service]) -> Iterator[str]:
    for service in services:
        name = service["name"]
        if not _NAME.fullmatch(name):
            yield f"service {name!r}: use lower-case letters, digits and '-', 63 at most"
        has_work = service.get("port") or service.get("upstreams") or _captures(service)
        if not has_work:
            yield f"service {name}: give port, upstreams or capture, else its proxy does nothing"
        if (service.get("capture") or {}).get("inbound") and not service.get("port"):
            yield f"service {name}: capture.inbound needs the service's port"
    of_everybody = [
        each["name"]
        for each in services
        if _captures(each) and not (each["capture"].get("users") or each["capture"].get("cgroups"))
    ]
    if len(of_everybody) > 1:
        yield (
            f"services {' and '.join(of_everybody)} both capture everybody's connections: "
            "say capture.users or capture.cgroups for all but one"
        )


def _wrong_upstreams(services: Sequence[Service]) -> Iterator[str]:
    for service in services:
        for upstream in service.get("upstreams") or ():
            found = _UPSTREAM.fullmatch(str(upstream))
            if not found or not 0 < int(found[4]) <= _MAX_PORT or not _is_address(found[3]):
                yield (
                    f"service {service['name']}: {upstream!r} is no upstream: write service:port, "
                    "service.zone:port or service:address:port"
                )


def _shared(services: Sequence[Service]) -> Iterator[str]:
    """Find names and ports that more than one wants; the proxies' own ports are among them."""
    names = [each["name"] for each in services]
    for name in sorted({each for each in names if names.count(each) > 1}):
        yield f"service {name} is declared {names.count(name)} times: a host has one proxy for each"
    wanted: dict[int, list[str]] = defaultdict(list)
    for index, service in enumerate(services):
        for port, taker in _takers(service, index):
            wanted[port].append(taker)
    if any(_captures(each) for each in services):
        wanted[DNS].append("the names below .mesh")
    for port, takers in sorted(wanted.items()):
        if not 0 < port <= _MAX_PORT:
            yield f"port {port} of {takers[0]} is none: use 1 to {_MAX_PORT}"
        elif len(takers) > 1:
            yield f"port {port} is wanted by {' and by '.join(takers)}: move all but one"


def _takers(service: Service, index: int) -> Iterator[tuple[int, str]]:
    """Yield each port that a service or its proxy takes on the host, and what for."""
    name = service["name"]
    if service.get("port"):
        yield service["port"], f"the application of {name}"
    yield INBOUND + STEP * index, f"the proxy of {name} (callers)"
    yield READINESS + STEP * index, f"the proxy of {name} (readiness)"
    if _captures(service):
        yield CAPTURE + STEP * index, f"the proxy of {name} (captured connections)"
    for upstream in service.get("upstreams") or ():
        found = _UPSTREAM.fullmatch(str(upstream))
        if found and found[3] is None:
            yield int(found[4]), f"the upstream {found[1]} of {name}"


def _is_address(text: str | None) -> bool:
    try:
        return text is None or bool(ipaddress.ip_address(text.strip("[]")))
    except ValueError:
        return False


_FILTERS: Final[tuple[Callable[..., object], ...]] = (
    *(problems, proxies, gateway, daemons, capture, gone, left_behind),
)


class FilterModule:
    """What ansible looks for: the filters by name."""

    def filters(self) -> dict[str, Callable[..., object]]:
        """Return them."""
        return {each.__name__: each for each in _FILTERS}
