"""``service-resolver`` entries.  Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from mesh.clients.consul.fields import Fields
from mesh.model.entries import FailoverTarget, Resolver, ResolverRedirect, Subset
from mesh.routing import bexpr
from mesh.sources.consul.entries.balancing import load_balancing
from mesh.sources.consul.entries.fields import (
    Entry,
    check_subset,
    check_zone,
    duration,
    refuse_enterprise,
    service,
    subset,
    zone,
)
from mesh.sources.consul.entries.kinds import SERVICE_RESOLVER
from mesh.sources.consul.problems import Raw

_OTHERS: Final = "*"


def parse_resolver(raw: Raw) -> Resolver:
    """Read a ``service-resolver`` entry.

    Raises:
        InvalidInputError: with every violation.

    """
    entry = Entry(SERVICE_RESOLVER, raw)
    fields = entry.fields
    name = fields.name("Name")
    subsets = _subsets(entry)
    default = fields.text("DefaultSubset")
    _check_known(fields, "DefaultSubset", default, subsets)
    redirect = _redirect(fields, name, subsets)
    failover = _failover(entry, name, subsets)
    if redirect is not None and failover:
        fields.wrong("", "has both Redirect and Failover; give one")
    if fields.raw("PrioritizeByLocality"):
        fields.wrong("PrioritizeByLocality", "is Consul Enterprise's")
    resolver = Resolver(
        name=name,
        default_subset=default,
        subsets=subsets,
        redirect=redirect,
        failover=failover,
        connect_timeout=duration(fields, "ConnectTimeout"),
        request_timeout=duration(fields, "RequestTimeout"),
        balancing=load_balancing(fields),
    )
    entry.close()
    return resolver


def _subsets(entry: Entry) -> dict[str, Subset]:
    found: dict[str, Subset] = {}
    for name, said in entry.named(entry.fields, "Subsets"):
        check_subset(said, "", name)
        text = said.text("Filter")
        condition = None
        if text:
            try:
                condition = bexpr.parse(text)
            except bexpr.InvalidFilterError as error:
                for fault in error.faults:
                    said.wrong("Filter", fault)
        found[name] = Subset(condition, said.boolean("OnlyPassing"), text)
        said.close()
    return found


def _check_known(fields: Fields, name: str, value: str, subsets: Mapping[str, Subset]) -> None:
    if value and value not in subsets:
        fields.wrong(name, f"{value!r} is not one of Subsets")


def _redirect(fields: Fields, own: str, subsets: Mapping[str, Subset]) -> ResolverRedirect | None:
    said = fields.child("Redirect")
    if said is None:
        return None
    refuse_enterprise(said)
    found = ResolverRedirect(service(said), subset(said), zone(said, "Datacenter"))
    if found == ResolverRedirect():
        said.wrong("", "is empty: give Service, ServiceSubset or Datacenter")
    elif found.subset and not found.service:
        said.wrong("ServiceSubset", "needs Service")
    elif found.service == own:
        _check_known(said, "ServiceSubset", found.subset, subsets)
    said.close()
    return found


def _failover(
    entry: Entry, own: str, subsets: Mapping[str, Subset]
) -> dict[str, tuple[FailoverTarget, ...]]:
    found: dict[str, tuple[FailoverTarget, ...]] = {}
    for name, said in entry.named(entry.fields, "Failover"):
        if name != _OTHERS:
            _check_known(said, "", name, subsets)
        found[name] = _failover_targets(said, own, subsets)
        policy = said.child("Policy")
        if policy is not None:
            policy.choice("Mode", ("default",), "default")
            if policy.raw("Regions"):
                policy.wrong("Regions", "are Consul Enterprise's")
            policy.close()
        said.close()
    return found


def _failover_targets(
    said: Fields, own: str, subsets: Mapping[str, Subset]
) -> tuple[FailoverTarget, ...]:
    first = _failover_target(said, own, subsets)
    zones = said.texts("Datacenters")
    for index, each in enumerate(zones):
        check_zone(said, f"Datacenters[{index}]", each)
    targets: list[FailoverTarget] = []
    for item in said.children("Targets"):
        target = _failover_target(item, own, subsets, zone(item, "Datacenter"))
        if target == FailoverTarget() and not item.text("Peer"):
            item.wrong("", "is empty: give Service, ServiceSubset or Datacenter")
        item.close()
        targets.append(target)
    if targets and (zones or first != FailoverTarget()):
        said.wrong("Targets", "are not possible beside Service, ServiceSubset and Datacenters")
    if not targets and not zones and first == FailoverTarget():
        said.wrong("", "is empty: give Service, ServiceSubset, Datacenters or Targets")
    if targets:
        return tuple(targets)
    if not zones:
        return (first,)
    return tuple(FailoverTarget(first.service, first.subset, each) for each in zones)


def _failover_target(
    said: Fields, own: str, subsets: Mapping[str, Subset], wanted_zone: str = ""
) -> FailoverTarget:
    refuse_enterprise(said)
    target = FailoverTarget(service(said), subset(said), wanted_zone)
    if target.service in {"", own}:
        _check_known(said, "ServiceSubset", target.subset, subsets)
    return target
