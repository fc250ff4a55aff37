"""Whether one permission matches one call, as Envoy would find it.

Two of Envoy's ways deserve a warning.  A condition on a header that the request does not
have is never met, inverted or not; only ``PRESENT`` speaks about absence.  And a header
sent several times is compared as its values joined by commas.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from mesh.model.intentions import (
    ClaimMatch,
    HeaderMatch,
    HeaderMatchKind,
    JwtRequirement,
    PathMatch,
    PathMatchKind,
    Permission,
)
from mesh.model.services import Protocol
from mesh.policies.intentions.paths import normalise
from mesh.policies.intentions.re2 import full_match

_NONE: Mapping[str, Any] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Call:
    """A call that is judged.  ``protocol`` is the destination's.

    A call with neither ``method`` nor ``path`` stands for any request.  ``claims`` holds, for
    each provider whose token the request carries and which verified, the token's claims.
    """

    source: str
    destination: str
    protocol: Protocol
    method: str = ""
    path: str = ""
    headers: Mapping[str, str] = field(default_factory=lambda: _NONE)
    claims: Mapping[str, Mapping[str, Any]] = field(default_factory=lambda: _NONE)

    @property
    def is_request(self) -> bool:
        """Whether one request is meant, rather than any."""
        return bool(self.method or self.path)


def matches(permission: Permission, call: Call) -> bool:
    """Say whether every condition of ``permission`` holds for the request ``call``."""
    return (
        (permission.path is None or path_matches(permission.path, call.path or "/"))
        and (not permission.methods or (call.method or "GET") in permission.methods)
        and all(header_matches(header, call.headers) for header in permission.headers)
        and token_suffices(permission.jwt, call)
    )


def path_matches(match: PathMatch, target: str) -> bool:
    """Say whether the request target ``target`` satisfies ``match``."""
    path = normalise(target)
    match match.kind:
        case PathMatchKind.EXACT:
            return path == match.value
        case PathMatchKind.PREFIX:
            return path.startswith(match.value)
        case PathMatchKind.REGEX:
            return full_match(match.value, path)


def header_matches(match: HeaderMatch, headers: Mapping[str, str]) -> bool:
    """Say whether ``headers`` satisfy ``match``; names are compared without case."""
    name = match.name.lower()
    values = [value for key, value in headers.items() if key.lower() == name]
    if match.kind is HeaderMatchKind.PRESENT:
        return bool(values) != match.invert
    return bool(values) and _value_matches(match, ",".join(values)) != match.invert


def _value_matches(match: HeaderMatch, value: str) -> bool:
    wanted = match.value
    if match.kind is HeaderMatchKind.REGEX:
        return full_match(wanted, value)
    if match.ignore_case:
        wanted, value = wanted.lower(), value.lower()
    match match.kind:
        case HeaderMatchKind.PREFIX:
            return value.startswith(wanted)
        case HeaderMatchKind.SUFFIX:
            return value.endswith(wanted)
        case HeaderMatchKind.CONTAINS:
            return wanted in value
        case _:
            return value == wanted


def token_suffices(requirements: Sequence[JwtRequirement], call: Call) -> bool:
    """Say whether a token of ``call`` meets any of ``requirements``; none means no need."""
    return not requirements or any(
        requirement.provider in call.claims
        and all(_claim(match, call.claims[requirement.provider]) for match in requirement.claims)
        for requirement in requirements
    )


def _claim(match: ClaimMatch, claims: Mapping[str, Any]) -> bool:
    found: Any = claims
    for step in match.path:
        if not isinstance(found, Mapping) or step not in found:
            return False
        found = found[step]
    # Consul: a string must equal the value, a list must hold it.
    return match.value in found if isinstance(found, list | tuple) else found == match.value
