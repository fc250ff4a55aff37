"""RBAC rules: principals (who), permissions (what), and the two filters that hold them.

Names that end up in a regular expression are escaped, and expressions anchored.

Source: ``envoy.config.rbac.v3`` and the filters ``network.rbac`` and ``http.rbac``
(https://www.envoyproxy.io/docs/envoy/latest/configuration/http/http_filters/rbac_filter).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

from envoy.config.rbac.v3 import rbac_pb2
from envoy.config.route.v3 import route_components_pb2
from envoy.extensions.filters.http.rbac.v3 import rbac_pb2 as http_rbac_pb2
from envoy.extensions.filters.network.rbac.v3 import rbac_pb2 as network_rbac_pb2
from envoy.type.matcher.v3 import string_pb2

from mesh.model.intentions import HeaderMatch, HeaderMatchKind, PathMatch

_SPECIAL: Final = re.compile(r"[^A-Za-z0-9_-]", re.ASCII)
_CALLER: Final = "^spiffe://{domain}/ns/default/dc/{zone}/svc/{service}$"


def quoted(text: str) -> str:
    """Return an RE2 expression that matches exactly ``text``."""
    return _SPECIAL.sub(_escaped, text)


def workloads(trust_domain: str, services: Sequence[str] | None = None, *, zone: str = "") -> str:
    """Return an RE2 expression for the identities of ``services``, in ``zone`` or in any.

    None stands for every service of the trust domain.
    """
    if services is None:
        service = "[^/]+"
    elif len(services) == 1:
        service = quoted(services[0])
    else:
        service = f"(?:{'|'.join(quoted(name) for name in services)})"
    where = quoted(zone) if zone else "[^/]+"
    return _CALLER.format(domain=quoted(trust_domain), zone=where, service=service)


def identified(expression: str) -> Any:
    """Return the principal whose URI SAN matches the RE2 ``expression``."""
    principal = rbac_pb2.Principal()
    principal.authenticated.principal_name.safe_regex.regex = expression
    return principal


def anybody() -> Any:
    """Return the principal that everybody is."""
    return rbac_pb2.Principal(any=True)


def not_principal(principal: Any) -> Any:
    """Return everybody but ``principal``."""
    return rbac_pb2.Principal(not_id=principal)


def every_principal(principals: Sequence[Any]) -> Any:
    """Return those who are all of ``principals``."""
    if len(principals) == 1:
        return principals[0]
    return rbac_pb2.Principal(and_ids=rbac_pb2.Principal.Set(ids=principals))


def either_principal(principals: Sequence[Any]) -> Any:
    """Return those who are any of ``principals``; nobody if there are none."""
    if not principals:
        return not_principal(anybody())
    if len(principals) == 1:
        return principals[0]
    return rbac_pb2.Principal(or_ids=rbac_pb2.Principal.Set(ids=principals))


def principal_with(metadata: Any) -> Any:
    """Return those whose request carries ``metadata`` (a MetadataMatcher)."""
    return rbac_pb2.Principal(
        sourced_metadata=rbac_pb2.SourcedMetadata(metadata_matcher=metadata),
    )


def anything() -> Any:
    """Return the permission to do anything."""
    return rbac_pb2.Permission(any=True)


def not_permission(permission: Any) -> Any:
    """Return everything but ``permission``."""
    return rbac_pb2.Permission(not_rule=permission)


def every_permission(permissions: Sequence[Any]) -> Any:
    """Return what all of ``permissions`` cover; anything if there are none."""
    if not permissions:
        return anything()
    if len(permissions) == 1:
        return permissions[0]
    return rbac_pb2.Permission(and_rules=rbac_pb2.Permission.Set(rules=permissions))


def either_permission(permissions: Sequence[Any]) -> Any:
    """Return what any of ``permissions`` covers; nothing if there are none."""
    if not permissions:
        return not_permission(anything())
    if len(permissions) == 1:
        return permissions[0]
    return rbac_pb2.Permission(or_rules=rbac_pb2.Permission.Set(rules=permissions))


def permission_with(metadata: Any) -> Any:
    """Return the requests that carry ``metadata`` (a MetadataMatcher)."""
    return rbac_pb2.Permission(
        sourced_metadata=rbac_pb2.SourcedMetadata(metadata_matcher=metadata),
    )


def on_path(match: PathMatch) -> Any:
    """Return the requests for paths (without query) that satisfy ``match``."""
    permission = rbac_pb2.Permission()
    permission.url_path.path.CopyFrom(_string(match.kind.value, match.value))
    return permission


def by_method(methods: Sequence[str]) -> Any:
    """Return the requests made with one of ``methods``."""
    return either_permission(
        [
            rbac_pb2.Permission(
                header=route_components_pb2.HeaderMatcher(
                    name=":method", string_match=_string("exact", method)
                )
            )
            for method in methods
        ]
    )


def with_header(match: HeaderMatch) -> Any:
    """Return the requests whose headers satisfy ``match``."""
    header = route_components_pb2.HeaderMatcher(name=match.name, invert_match=match.invert)
    if match.kind is HeaderMatchKind.PRESENT:
        header.present_match = True
    else:
        header.string_match.CopyFrom(
            _string(match.kind.value, match.value, ignore_case=match.ignore_case)
        )
    return rbac_pb2.Permission(header=header)


def policy(principal: Any, permissions: Sequence[Any]) -> Any:
    """Return the policy that ``principal`` may do any of ``permissions``."""
    return rbac_pb2.Policy(principals=[principal], permissions=permissions)


def rules(policies: Mapping[str, Any], *, default_allow: bool) -> Any:
    """Return rules by which ``policies`` are the exceptions to the default."""
    action = rbac_pb2.RBAC.DENY if default_allow else rbac_pb2.RBAC.ALLOW
    return rbac_pb2.RBAC(action=action, policies=dict(sorted(policies.items())))


def network_filter(stat_prefix: str, of: Any) -> Any:
    """Return the network filter that holds the rules ``of``."""
    return network_rbac_pb2.RBAC(stat_prefix=f"{stat_prefix}.", rules=of)


def http_filter(stat_prefix: str, of: Any) -> Any:
    """Return the HTTP filter that holds the rules ``of``."""
    return http_rbac_pb2.RBAC(rules_stat_prefix=f"{stat_prefix}.", rules=of)


def _escaped(found: re.Match[str]) -> str:
    char = found.group()
    return f"\\{char}" if char.isascii() and char.isprintable() else f"\\x{{{ord(char):x}}}"


def _string(kind: str, value: str, *, ignore_case: bool = False) -> Any:
    if kind == "regex":
        # Case is the expression's own affair here, in Envoy as in Consul.
        matcher = string_pb2.StringMatcher()
        matcher.safe_regex.regex = value
        return matcher
    return string_pb2.StringMatcher(ignore_case=ignore_case, **{kind: value})
