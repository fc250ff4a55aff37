"""What Consul refuses in an intention, told all at once.

The paths are those of Consul's ``service-intentions`` entry, below its ``Sources[i]``, so
that a person finds the place in what was written.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from mesh.model.intentions import (
    HeaderMatch,
    HeaderMatchKind,
    Intention,
    JwtRequirement,
    PathMatch,
    PathMatchKind,
    Permission,
)
from mesh.model.names import WILDCARD
from mesh.model.violations import Violation
from mesh.policies.intentions.re2 import InvalidRegexError, compile_re2

_VALUE_ONLY = frozenset({HeaderMatchKind.PRESENT, HeaderMatchKind.REGEX})

_METHODS = frozenset(
    {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "CONNECT", "OPTIONS", "TRACE"}
)


def validate(intention: Intention, path: str = "") -> tuple[Violation, ...]:
    """Return everything wrong with ``intention``, which stands at ``path`` (``Sources[0]``)."""
    return tuple(_intention(intention, f"{path}." if path else ""))


def validate_all(intentions: Sequence[Intention]) -> tuple[Violation, ...]:
    """Return everything wrong with the sources of one destination's entry."""
    found: list[Violation] = []
    first: dict[str, int] = {}
    for index, intention in enumerate(intentions):
        found += validate(intention, f"Sources[{index}]")
        earlier = first.setdefault(intention.source, index)
        if earlier != index:
            message = f"the source {intention.source!r} is already Sources[{earlier}]"
            found.append(Violation(f"Sources[{index}].Name", message))
    return tuple(found)


def validate_regex(pattern: str, path: str) -> tuple[Violation, ...]:
    """Return what keeps ``pattern`` from being an RE2 expression that can be evaluated."""
    try:
        compile_re2(pattern)
    except InvalidRegexError as error:
        return (Violation(path, f"not a usable RE2 expression: {error}"),)
    return ()


def _intention(intention: Intention, path: str) -> Iterator[Violation]:
    if intention.peer and intention.destination == WILDCARD:
        yield Violation(
            f"{path}Name", "is of a peer, whose callers are let in service by service, not to '*'"
        )
    if intention.action is not None and intention.permissions:
        yield Violation(f"{path}Action", "must be omitted where Permissions are given")
    if intention.action is None and not intention.permissions:
        yield Violation(f"{path}Action", "must be allow or deny where there are no Permissions")
    if intention.permissions and intention.destination == WILDCARD:
        yield Violation(
            f"{path}Permissions", "cannot be given for the destination '*', only for a service"
        )
    yield from _requirements(intention.jwt, "JWT.Providers")
    for index, permission in enumerate(intention.permissions):
        yield from _permission(permission, f"{path}Permissions[{index}]")


def _permission(permission: Permission, path: str) -> Iterator[Violation]:
    conditions = (permission.path, permission.headers, permission.methods, permission.jwt)
    if not any(conditions):
        yield Violation(f"{path}.HTTP", "must have at least one of Path*, Header, Methods")
    if permission.path is not None:
        yield from _path(permission.path, f"{path}.HTTP")
    for index, method in enumerate(permission.methods):
        place = f"{path}.HTTP.Methods[{index}]"
        if method not in _METHODS:
            yield Violation(place, f"{method!r} is not an HTTP method (in capitals)")
        if method in permission.methods[:index]:
            yield Violation(place, f"{method!r} is named twice")
    for index, header in enumerate(permission.headers):
        yield from _header(header, f"{path}.HTTP.Header[{index}]")
    yield from _requirements(permission.jwt, f"{path}.JWT.Providers")


def _path(match: PathMatch, path: str) -> Iterator[Violation]:
    place = f"{path}.Path{match.kind.value.capitalize()}"
    if match.kind is PathMatchKind.REGEX:
        yield from validate_regex(match.value, place)
        if not match.value:
            yield Violation(place, "must not be empty")
    elif not match.value.startswith("/"):
        yield Violation(place, f"must begin with '/': {match.value!r}")


def _header(match: HeaderMatch, path: str) -> Iterator[Violation]:
    place = f"{path}.{match.kind.value.capitalize()}"
    if not match.name:
        yield Violation(f"{path}.Name", "must not be empty")
    if match.kind is HeaderMatchKind.PRESENT and match.value:
        yield Violation(place, "cannot be combined with a value to compare")
    if match.kind is not HeaderMatchKind.PRESENT and not match.value:
        yield Violation(place, "must not be empty")
    if match.kind is HeaderMatchKind.REGEX:
        yield from validate_regex(match.value, place)
    if match.ignore_case and match.kind in _VALUE_ONLY:
        yield Violation(
            f"{path}.IgnoreCase", "needs one of Exact, Prefix, Suffix, Contains beside it"
        )


def _requirements(requirements: Sequence[JwtRequirement], path: str) -> Iterator[Violation]:
    for index, requirement in enumerate(requirements):
        if not requirement.provider:
            yield Violation(f"{path}[{index}].Name", "must name a jwt-provider")
        for number, claim in enumerate(requirement.claims):
            if not claim.path or not all(claim.path):
                yield Violation(
                    f"{path}[{index}].VerifyClaims[{number}].Path", "must have no empty step"
                )
