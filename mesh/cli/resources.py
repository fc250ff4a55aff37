"""Envoy resources for people: one shape for what a zone sent and for what an Envoy has.  Pure.

Both give resources as JSON in protobuf's own field names.  Keys are redacted while reading, so
that nothing downstream can print one.
"""

from __future__ import annotations

import base64
import binascii
import enum
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from cryptography import x509

from mesh.envoy import resource as types
from mesh.model import hostport

_Rows = Sequence[Sequence[str]]

REDACTED: Final = "[redacted]"
_SECRET_FIELDS: Final = frozenset(
    {"private_key", "private_key_provider", "password", "session_ticket_keys", "generic_secret"}
)


class Kind(enum.StrEnum):
    """A type of resource, as the command line names it."""

    LISTENERS = "listeners"
    CLUSTERS = "clusters"
    ROUTES = "routes"
    ENDPOINTS = "endpoints"
    FILTERS = "filters"
    SECRETS = "secrets"


_NAMED_CONDITIONS: Final = {"headers": "header", "query_parameters": "query"}
_REDIRECTS: Final = {
    "MOVED_PERMANENTLY": 301,
    "FOUND": 302,
    "SEE_OTHER": 303,
    "TEMPORARY_REDIRECT": 307,
    "PERMANENT_REDIRECT": 308,
}
_KINDS: Final = {
    types.LISTENER: Kind.LISTENERS,
    types.CLUSTER: Kind.CLUSTERS,
    types.ROUTE: Kind.ROUTES,
    types.ENDPOINTS: Kind.ENDPOINTS,
    types.EXTENSION: Kind.FILTERS,
    types.SECRET: Kind.SECRETS,
}


@dataclass(frozen=True, slots=True)
class Shown:
    """One resource.  ``state`` says where it stands: ``acknowledged``, ``active`` and so on."""

    kind: Kind
    name: str
    state: str
    version: str
    content: Mapping[str, Any]

    def document(self) -> dict[str, Any]:
        """Write it for programs."""
        return {
            "kind": self.kind.value,
            "name": self.name,
            "state": self.state,
            "version": self.version,
            "content": self.content,
        }


def from_zone(answer: Mapping[str, Any]) -> list[Shown]:
    """Read what a zone answered about one proxy."""
    return [
        Shown(
            _KINDS[type_url],
            str(each["name"]),
            "acknowledged" if each["acknowledged"] else "not acknowledged",
            str(each["version"]),
            redact(each["content"]),
        )
        for type_url, group in answer["resources"].items()
        if type_url in _KINDS
        for each in group
    ]


def from_dump(dump: Mapping[str, Any]) -> list[Shown]:
    """Read the ``config_dump`` of an Envoy."""
    return [
        shown
        for section in dump["configs"]
        for group, items in section.items()
        if isinstance(items, list)
        for item in items
        for shown in _dumped(group, item)
    ]


def redact(content: Any) -> Any:
    """Return ``content`` with everything secret blotted out."""
    if isinstance(content, Mapping):
        return {
            key: REDACTED if key in _SECRET_FIELDS else redact(value)
            for key, value in content.items()
        }
    return [redact(each) for each in content] if isinstance(content, list) else content


def columns(kind: Kind) -> Sequence[str]:
    """Return the headings of the table of one kind."""
    return (*_TABLES[kind][0], "state")


def rows(kind: Kind, shown: Sequence[Shown]) -> list[Sequence[str]]:
    """Return the rows of the table of one kind."""
    cells = _TABLES[kind][1]
    mine = sorted((each for each in shown if each.kind is kind), key=lambda each: each.name)
    return [(*row, each.state) for each in mine for row in cells(each)]


def _dumped(group: str, item: Mapping[str, Any]) -> Iterator[Shown]:
    state = (
        "static" if group.startswith("static") else "warming" if "warming" in group else "active"
    )
    # A listener's states stand one level below its name.
    places = [(state, item)]
    places += [
        (name.removesuffix("_state"), value)
        for name, value in item.items()
        if name.endswith("_state") and isinstance(value, Mapping)
    ]
    for word, place in places:
        for content in place.values():
            kind = _KINDS.get(content.get("@type", "")) if isinstance(content, Mapping) else None
            if kind is not None:
                name = item.get("name") or content.get("name") or content.get("cluster_name", "")
                version = str(place.get("version_info", ""))
                refused = ", last update refused" if "error_state" in item else ""
                yield Shown(kind, name, word + refused, version, redact(content))


def _address(raw: Mapping[str, Any]) -> str:
    place = raw.get("socket_address", {})
    if not place:
        return str(raw.get("pipe", {}).get("path", ""))
    return hostport.join(place.get("address", ""), place.get("port_value"))


def _short(name: str) -> str:
    return name.rpartition(".")[2]


def _listener(shown: Shown) -> _Rows:
    chains = shown.content.get("filter_chains", [])
    default = shown.content.get("default_filter_chain")
    filters = []
    for chain in [*chains, *([default] if default else [])]:
        named = []
        for each in chain.get("filters", []):
            inner = each.get("typed_config", {}).get("http_filters", [])
            http = f"({', '.join(_short(one['name']) for one in inner)})" if inner else ""
            named.append(_short(each["name"]) + http)
        filters.append(" → ".join(named))
    address = _address(shown.content.get("address", {}))
    return [(shown.name, address, "\n".join(dict.fromkeys(filters)))]


def _cluster(shown: Shown) -> _Rows:
    content = shown.content
    socket = content.get("transport_socket", {})
    sni = socket.get("typed_config", {}).get("sni", "")
    kind = content.get("type") or content.get("cluster_type", {}).get("name", "STATIC")
    return [(shown.name, _short(str(kind)), _short(socket.get("name", "")) or "plain", sni)]


def _route(shown: Shown) -> _Rows:
    hosts = shown.content.get("virtual_hosts", [])
    found = []
    for host in hosts:
        domains = ", ".join(host.get("domains", []))
        for route in host.get("routes", []):
            match = ", ".join(_condition(*each) for each in route.get("match", {}).items())
            target = route.get("route", {}).get("cluster") or _action(route)
            found.append((shown.name, domains, match, target))
    return found or [(shown.name, "", "", "")]


def _condition(name: str, value: Any) -> str:
    if name == "safe_regex":
        return f"regex={value.get('regex', '')}"
    if name in _NAMED_CONDITIONS:
        return ", ".join(f"{_NAMED_CONDITIONS[name]} {each.get('name', '')}" for each in value)
    return f"{name}={value}"


def _action(route: Mapping[str, Any]) -> str:
    response = route.get("direct_response")
    if response:
        return f"answers {response.get('status')}"
    if "redirect" in route:
        code = str(route["redirect"].get("response_code", "MOVED_PERMANENTLY"))
        return f"redirects, {_REDIRECTS.get(code, code)}"
    weighted = route.get("route", {}).get("weighted_clusters", {}).get("clusters", [])
    return ", ".join(f"{each['name']} {each.get('weight', 0)}" for each in weighted)


def _endpoints(shown: Shown) -> _Rows:
    found = [
        (
            shown.name,
            _address(each.get("endpoint", {}).get("address", {})),
            str(each.get("health_status", "UNKNOWN")).lower(),
            str(each.get("load_balancing_weight", 1)),
            str(group.get("priority", 0)),
        )
        for group in shown.content.get("endpoints", [])
        for each in group.get("lb_endpoints", [])
    ]
    return found or [(shown.name, "none", "", "", "")]


def _filter(shown: Shown) -> _Rows:
    kind = shown.content.get("typed_config", {}).get("@type", "")
    return [(shown.name, _short(str(kind)))]


def _secret(shown: Shown) -> _Rows:
    certificate = shown.content.get("tls_certificate")
    if certificate is not None:
        source, what = certificate.get("certificate_chain", {}), "certificate"
    else:
        source = shown.content.get("validation_context", {}).get("trusted_ca", {})
        what = "trust bundle"
    found = _certificates(source)
    if not found:
        return [(shown.name, what, str(source.get("filename", "")), "")]
    subjects = [_subject(each) for each in (found[:1] if certificate is not None else found)]
    ends = min(each.not_valid_after_utc for each in found)
    return [(shown.name, what, "\n".join(subjects), f"{ends:%Y-%m-%d %H:%M} UTC")]


def _certificates(source: Mapping[str, Any]) -> list[x509.Certificate]:
    try:
        pem = base64.b64decode(source.get("inline_bytes", ""), validate=True)
        return x509.load_pem_x509_certificates(pem or str(source["inline_string"]).encode())
    except (KeyError, ValueError, binascii.Error):
        return []


def _subject(certificate: x509.Certificate) -> str:
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return certificate.subject.rfc4514_string()
    uris = names.get_values_for_type(x509.UniformResourceIdentifier)
    return ", ".join(uris) or certificate.subject.rfc4514_string()


_Cells = Callable[[Shown], _Rows]
_TABLES: Final[Mapping[Kind, tuple[Sequence[str], _Cells]]] = {
    Kind.LISTENERS: (("name", "address", "filters"), _listener),
    Kind.CLUSTERS: (("name", "type", "transport", "sni"), _cluster),
    Kind.ROUTES: (("name", "domains", "match", "to"), _route),
    Kind.ENDPOINTS: (("cluster", "address", "health", "weight", "priority"), _endpoints),
    Kind.FILTERS: (("name", "type"), _filter),
    Kind.SECRETS: (("name", "what", "of", "ends"), _secret),
}
