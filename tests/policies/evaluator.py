"""Envoy's RBAC semantics in a page, written from its reference and not from our compiler.

Source: ``envoy.config.rbac.v3`` and ``envoy.type.matcher.v3``
(https://www.envoyproxy.io/docs/envoy/latest/api-v3/config/rbac/v3/rbac.proto).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Request:
    """What the filter sees: the peer's URI SAN, the request line, headers, dynamic metadata."""

    peer: str
    headers: Mapping[str, str] = field(default_factory=dict)
    metadata: Mapping[str, Any] = field(default_factory=dict)


def allows(rules: Any, request: Request) -> bool:
    """Say whether ``rules`` let ``request`` pass."""
    matched = any(
        any(_principal(each, request) for each in policy.principals)
        and any(_permission(each, request) for each in policy.permissions)
        for policy in rules.policies.values()
    )
    return matched is (rules.action == rules.ALLOW)


def _principal(rule: Any, request: Request) -> bool:
    kind = rule.WhichOneof("identifier")
    if kind == "any":
        return True
    if kind == "and_ids":
        return all(_principal(each, request) for each in rule.and_ids.ids)
    if kind == "or_ids":
        return any(_principal(each, request) for each in rule.or_ids.ids)
    if kind == "not_id":
        return not _principal(rule.not_id, request)
    if kind == "authenticated":
        return _text(rule.authenticated.principal_name, request.peer)
    assert kind == "sourced_metadata", kind
    return _metadata(rule.sourced_metadata.metadata_matcher, request.metadata)


def _permission(rule: Any, request: Request) -> bool:
    kind = rule.WhichOneof("rule")
    if kind == "any":
        return True
    if kind == "and_rules":
        return all(_permission(each, request) for each in rule.and_rules.rules)
    if kind == "or_rules":
        return any(_permission(each, request) for each in rule.or_rules.rules)
    if kind == "not_rule":
        return not _permission(rule.not_rule, request)
    return _condition(rule, kind, request)


def _condition(rule: Any, kind: str, request: Request) -> bool:
    if kind == "url_path":
        path = re.sub(r"[?#].*", "", request.headers[":path"])
        return _text(rule.url_path.path, path)
    if kind == "header":
        return _header(rule.header, request.headers)
    assert kind == "sourced_metadata", kind
    return _metadata(rule.sourced_metadata.metadata_matcher, request.metadata)


def _header(rule: Any, headers: Mapping[str, str]) -> bool:
    value = headers.get(rule.name.lower())
    if rule.WhichOneof("header_match_specifier") == "present_match":
        return ((value is not None) is rule.present_match) is not rule.invert_match
    if value is None:
        return False
    return _text(rule.string_match, value) is not rule.invert_match


def _text(rule: Any, value: str) -> bool:
    kind = rule.WhichOneof("match_pattern")
    if kind == "safe_regex":
        return re.fullmatch(rule.safe_regex.regex, value) is not None
    wanted = getattr(rule, kind)
    if rule.ignore_case:
        wanted, value = wanted.lower(), value.lower()
    if kind == "exact":
        return bool(wanted == value)
    if kind == "prefix":
        return value.startswith(wanted)
    if kind == "suffix":
        return value.endswith(wanted)
    assert kind == "contains", kind
    return wanted in value


def _metadata(rule: Any, metadata: Mapping[str, Any]) -> bool:
    found: Any = metadata.get(rule.filter)
    for segment in rule.path:
        found = found.get(segment.key) if isinstance(found, Mapping) else None
    return _value(rule.value, found)


def _value(rule: Any, value: object) -> bool:
    kind = rule.WhichOneof("match_pattern")
    if kind == "or_match":
        return any(_value(each, value) for each in rule.or_match.value_matchers)
    if kind == "list_match":
        return isinstance(value, list) and any(
            _value(rule.list_match.one_of, each) for each in value
        )
    assert kind == "string_match", kind
    return isinstance(value, str) and _text(rule.string_match, value)
