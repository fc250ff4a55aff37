"""The settings that a join writes, as documents: pure.

They are checked by the models that the programs read them with, before anything is touched.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

import yaml

from mesh.config.capture import CaptureSettings
from mesh.config.loading import validate
from mesh.config.proxy import ProxySettings
from mesh.model.violations import InvalidInputError, Violation
from mesh.vm.layout import DNS, MOST_SERVICES, Layout, Ports
from mesh.vm.request import Join

_TOKEN_OF_UNIT: Final = "/run/credentials/join-token"
"""Stands for what the unit adds on its command line."""


def own_ports(existing: Mapping[str, Mapping[str, Any]], service: str) -> Ports:
    """Return the ports of ``service`` among the proxies' settings that ``existing`` has by name.

    Those of a service that is there already stay; a new one gets the first that nobody has.

    Raises:
        InvalidInputError: the host is full.

    """
    numbered = {
        name: next(
            (each for each in range(MOST_SERVICES) if _uses(settings, Ports(each))), MOST_SERVICES
        )
        for name, settings in existing.items()
    }
    if numbered.get(service, MOST_SERVICES) < MOST_SERVICES:
        return Ports(numbered[service])
    taken = {index for name, index in numbered.items() if name != service}
    free = [each for each in range(MOST_SERVICES) if each not in taken]
    if not free:
        problem = Violation("", f"has {MOST_SERVICES} services already")
        raise InvalidInputError("this host", (problem,))
    return Ports(free[0])


def proxy(join: Join, ports: Ports, layout: Layout, *, answers_names: bool) -> str:
    """Return the settings of the service's proxy, as YAML.

    Args:
        join: what is wanted.
        ports: the service's own.
        layout: the places.
        answers_names: whether this proxy is the host's one that answers DNS.

    Raises:
        InvalidInputError: the settings are not valid, each violation at its path.

    """
    document: dict[str, Any] = {
        **join.more,
        "service": join.service,
        "app": join.app,
        "zone_api": list(join.zone_api),
        "state_dir": str(layout.state(join.service)),
        "inbound_port": ports.inbound,
        "listen": f"127.0.0.1:{ports.listen}",
        "registration": join.registration,
    }
    if join.upstreams:
        document["upstreams"] = list(join.upstreams)
    if join.health:
        document["health"] = dict(join.health)
    if join.capture is not None:
        document["capture"] = f"127.0.0.1:{ports.outbound}"
        if answers_names:
            document["dns"] = DNS
    proofs = {"join_token_file", "consul_token_file"} & document.keys()
    given = document if proofs else {**document, "join_token_file": _TOKEN_OF_UNIT}
    validate(ProxySettings, given, f"the settings of {join.service}")
    return _yaml(document)


def heir(existing: Mapping[str, Mapping[str, Any]], leaving: Iterable[str]) -> tuple[str, str]:
    """Return who is to answer DNS after services that leave, and its settings; empty if nobody.

    Somebody is if the one that did leaves, or captures no longer, and another captures.
    """
    gone = set(leaving)
    if not any("dns" in existing.get(each, {}) for each in gone):
        return "", ""
    for name in sorted(existing.keys() - gone):
        if "capture" in existing[name]:
            return name, _yaml({**existing[name], "dns": DNS})
    return "", ""


def answers_names(existing: Mapping[str, Mapping[str, Any]], service: str) -> bool:
    """Whether ``service`` is the one that answers DNS: the first of the host that captures."""
    return not any("dns" in settings for name, settings in existing.items() if name != service)


def capture(
    existing: Mapping[str, Any],
    service: str,
    *,
    entry: Mapping[str, Any] | None,
    trust_domain: str = "",
) -> str | None:
    """Return the settings of the capture with ``service`` as wanted; None if nobody is captured.

    Args:
        existing: the settings of before; what they say of others stays.
        service: the service.
        entry: what :func:`captured` says of it; None if it captures nobody.
        trust_domain: of the mesh, if it is known: the virtual addresses depend on it.

    """
    others = [each for each in existing.get("proxies") or () if each.get("service") != service]
    if entry is not None:
        others.append(dict(entry))
    if not others:
        return None
    document = {**existing, "proxies": others}
    if trust_domain:
        document["trust_domain"] = trust_domain
    if "dns" not in document:
        document["dns"] = {"port": int(DNS.rpartition(":")[2])}
    validate(CaptureSettings, document, "the settings of the capture")
    return _yaml(document)


def captured(join: Join, ports: Ports) -> dict[str, Any] | None:
    """Return the entry of a service in the settings of the capture; None if it captures nobody."""
    wanted = join.capture
    if wanted is None:
        return None
    entry: dict[str, Any] = {"service": join.service}
    if wanted.users:
        entry["users"] = list(wanted.users)
    if wanted.cgroups:
        entry["cgroups"] = list(wanted.cgroups)
    entry |= {"outbound": ports.outbound, "to": wanted.to}
    if wanted.inbound:
        entry["inbound"] = {int(join.app.rpartition(":")[2]): ports.inbound}
    return entry


def _uses(settings: Mapping[str, Any], ports: Ports) -> bool:
    return bool(settings.get("inbound_port", Ports(0).inbound) == ports.inbound)


def _yaml(document: Mapping[str, Any]) -> str:
    head = "# Written by `mesh vm join`, which replaces it when it is run again.\n"
    return head + yaml.safe_dump(dict(document), sort_keys=False, allow_unicode=True)


def everybodys(captures: Iterable[Mapping[str, Any]]) -> tuple[str, ...]:
    """Return the services that capture everybody's connections: one of a host may."""
    return tuple(
        str(each.get("service"))
        for each in captures
        if not each.get("users") and not each.get("cgroups") and "outbound" in each
    )
