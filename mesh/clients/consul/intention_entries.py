"""Intentions as Consul writes them, in both dialects, and back.

Consul's rules for L7 are checked here, all at once: an action or permissions and not both, no
permissions for a wildcard destination, one path condition, one comparison per header.
Namespaces, partitions and sameness groups are Consul Enterprise's and refused, for leaving one
out would widen the intention.

A source of a peer is ``Name`` and ``Peer`` in an entry, which Consul has from 1.13 on.  A record
of 1.8 has a name only: there it is ``web@partner``, and ``@partner`` for every service of the
peer, as that API takes no ``*`` beside other letters.  (An entry that was made of such records when
the servers were upgraded says the same.)
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mesh.clients.consul.fields import Fields
from mesh.model import callers
from mesh.model.intentions import (
    Action,
    ClaimMatch,
    HeaderMatch,
    HeaderMatchKind,
    Intention,
    JwtRequirement,
    PathMatch,
    PathMatchKind,
    Permission,
)
from mesh.model.names import WILDCARD, InvalidNameError
from mesh.model.violations import Report

KIND = "service-intentions"

BOOKKEEPING = ("Kind", "Meta", "CreateIndex", "ModifyIndex", "Hash", "Status")
"""Fields that any configuration entry has and that carry no meaning for the mesh."""

_EVERY_SERVICE = "is of a peer, whose callers are let in service by service, not to *"
_LEGACY_TRACES = ("LegacyID", "LegacyMeta", "LegacyCreateTime", "LegacyUpdateTime", "Precedence")
_ACTIONS = tuple(action.value for action in Action)
_PATHS = {
    "PathExact": PathMatchKind.EXACT,
    "PathPrefix": PathMatchKind.PREFIX,
    "PathRegex": PathMatchKind.REGEX,
}
_HEADERS = {
    "Exact": HeaderMatchKind.EXACT,
    "Prefix": HeaderMatchKind.PREFIX,
    "Suffix": HeaderMatchKind.SUFFIX,
    "Contains": HeaderMatchKind.CONTAINS,
    "Regex": HeaderMatchKind.REGEX,
}


def parse_entry(raw: Mapping[str, Any]) -> tuple[Intention, ...]:
    """Read a ``service-intentions`` entry: one intention per source.

    Raises:
        InvalidInputError: with every violation.

    """
    report = Report(f"{KIND} {raw.get('Name', raw.get('name', ''))}".strip())
    entry = Fields(raw, "", report)
    destination = entry.name("Name", wildcard=True)
    default_tenancy(entry)
    jwt = _jwt(entry)
    found: dict[str, Intention] = {}
    for source in entry.children("Sources"):
        intention = _source(source, destination, jwt)
        if intention.source in found:
            source.wrong("Name", f"{intention.source!r} stands in an earlier source already")
        found[intention.source] = intention
    entry.skip(BOOKKEEPING)
    entry.close()
    report.close()
    return tuple(found.values())


def parse_legacy(raw: Mapping[str, Any]) -> Intention:
    """Read an intention as ``/v1/connect/intentions`` lists it.

    Raises:
        InvalidInputError: with every violation.

    """
    label = f"{raw.get('SourceName', '')} → {raw.get('DestinationName', '')}"
    report = Report(f"intention {label}")
    fields = Fields(raw, "", report)
    intention = Intention(
        source=_caller(fields, "SourceName"),
        destination=fields.name("DestinationName", wildcard=True),
        action=Action(fields.choice("Action", _ACTIONS, "deny")),
        description=fields.text("Description"),
        id=fields.text("ID"),
    )
    if intention.peer and intention.destination == WILDCARD:
        fields.wrong("SourceName", _EVERY_SERVICE)
    for side in ("Source", "Destination"):
        for tenancy in ("NS", "Namespace", "Partition"):
            _only_default(fields, f"{side}{tenancy}")
    fields.choice("SourceType", ("consul",), "consul")
    if fields.raw("Permissions"):
        fields.wrong("Permissions", "belong into a service-intentions entry")
    fields.skip((*BOOKKEEPING, "DefaultAddr", "DefaultPort", "Precedence"))
    fields.skip(("CreatedAt", "UpdatedAt"))
    fields.close()
    report.close()
    return intention


def default_tenancy(fields: Fields) -> None:
    """Refuse a namespace or partition other than the default one."""
    _only_default(fields, "Namespace")
    _only_default(fields, "Partition")


def _only_default(fields: Fields, name: str) -> None:
    value = fields.text(name)
    if value not in {"", "default"}:
        fields.wrong(name, f"{value!r} is Consul Enterprise's; the mesh knows only 'default'")


def written_name(source: str) -> str:
    """Return what stands in the place of a service's name where there is none for its peer."""
    return source.removeprefix(WILDCARD) if callers.peer_of(source) else source


def _caller(fields: Fields, name: str, peer: str = "") -> str:
    written = fields.text(name, required=True)
    if written.startswith(callers.AT):
        written = WILDCARD + written
    if peer and callers.AT in written:
        fields.wrong(name, f"{written!r} names a peer, and so does Peer; give one")
    value = callers.joined(written, peer)
    if written:
        try:
            callers.checked(value)
        except InvalidNameError as error:
            fields.wrong(name, str(error))
    return value


def _source(source: Fields, destination: str, jwt: tuple[JwtRequirement, ...]) -> Intention:
    name = _caller(source, "Name", source.text("Peer"))
    if callers.peer_of(name) and destination == WILDCARD:
        source.wrong("Peer", _EVERY_SERVICE)
    default_tenancy(source)
    if source.text("SamenessGroup"):
        source.wrong("SamenessGroup", "is Consul Enterprise's; name the services instead")
    source.choice("Type", ("consul",), "consul")
    source.skip(_LEGACY_TRACES)
    stated = source.text("Action")
    action = Action(source.choice("Action", _ACTIONS, "deny")) if stated else None
    permissions = tuple(_permission(item) for item in source.children("Permissions"))
    if permissions and stated:
        source.wrong("", "has both Action and Permissions; give one")
    if not permissions and not stated:
        source.wrong("", "has neither Action nor Permissions; give one")
    if permissions and destination == WILDCARD:
        source.wrong("Permissions", "are not possible for the destination *")
    description = source.text("Description")
    source.close()
    return Intention(name, destination, action, permissions, jwt, description)


def _permission(fields: Fields) -> Permission:
    if not fields.text("Action"):
        fields.wrong("Action", "is required: allow or deny")
    action = Action(fields.choice("Action", _ACTIONS, "deny"))
    jwt = _jwt(fields)
    http = fields.child("HTTP")
    fields.close()
    if http is None:
        if not jwt:
            fields.wrong("HTTP", "is required: a permission must say what it matches")
        return Permission(action, jwt=jwt)
    path = _path(http)
    headers = tuple(_header(item) for item in http.children("Header"))
    methods = tuple(method.upper() for method in http.texts("Methods"))
    if len(set(methods)) != len(methods):
        http.wrong("Methods", "names a method twice")
    http.close()
    return Permission(action, path, methods, headers, jwt)


def _path(http: Fields) -> PathMatch | None:
    given = [(name, kind, value) for name, kind in _PATHS.items() if (value := http.text(name))]
    if len(given) > 1:
        http.wrong("", f"has {' and '.join(name for name, _, _ in given)}; give one")
    for name, kind, value in given:
        if kind is not PathMatchKind.REGEX and not value.startswith("/"):
            http.wrong(name, f"{value!r} must begin with '/'")
    return PathMatch(given[0][1], given[0][2]) if given else None


def _header(fields: Fields) -> HeaderMatch:
    name = fields.text("Name", required=True)
    given = [(kind, value) for field, kind in _HEADERS.items() if (value := fields.text(field))]
    if fields.boolean("Present"):
        given.append((HeaderMatchKind.PRESENT, ""))
    if len(given) != 1:
        wanted = "Present, Exact, Prefix, Suffix, Contains or Regex"
        fields.wrong("", f"must have exactly one of {wanted}, has {len(given)}")
    kind, value = given[0] if given else (HeaderMatchKind.PRESENT, "")
    invert = fields.boolean("Invert")
    ignore_case = fields.boolean("IgnoreCase")
    if ignore_case and kind in {HeaderMatchKind.PRESENT, HeaderMatchKind.REGEX}:
        fields.wrong("IgnoreCase", f"is not possible with {kind.value.capitalize()}")
    fields.close()
    return HeaderMatch(name, kind, value, invert, ignore_case)


def _jwt(fields: Fields) -> tuple[JwtRequirement, ...]:
    jwt = fields.child("JWT")
    if jwt is None:
        return ()
    providers: list[JwtRequirement] = []
    for provider in jwt.children("Providers"):
        name = provider.text("Name", required=True)
        claims = tuple(_claim(item) for item in provider.children("VerifyClaims"))
        provider.close()
        providers.append(JwtRequirement(name, claims))
    if not providers:
        jwt.wrong("Providers", "is required: at least one provider")
    jwt.close()
    return tuple(providers)


def _claim(fields: Fields) -> ClaimMatch:
    path = fields.texts("Path")
    if not path:
        fields.wrong("Path", "is required: the claim's name, and those nested below it")
    value = fields.text("Value", required=True)
    fields.close()
    return ClaimMatch(path, value)
