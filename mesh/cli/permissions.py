"""L7 permissions on the command line: read from options, put among others, written for people.

Pure.  A header is matched as in CSS, by the sign before the equals sign::

    x-role          the header is present      x-role=admin    it is exactly this
    x-role^=adm     it begins so               x-role$=min     it ends so
    x-role*=dmi     it contains this           x-role~=a.*n    it matches this RE2 expression
    !x-role=admin   none of these: a leading ! inverts
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Final

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
from mesh.model.violations import Report

_SIGNS: Final = {
    "=": HeaderMatchKind.EXACT,
    "^=": HeaderMatchKind.PREFIX,
    "$=": HeaderMatchKind.SUFFIX,
    "*=": HeaderMatchKind.CONTAINS,
    "~=": HeaderMatchKind.REGEX,
}
_HEADER: Final = re.compile(r"(!?)([^=!^$*~\s]+)(?:([\^$*~]?=)(.*))?", re.DOTALL)
_STEP: Final = re.compile(r"(?<!\\)\.")

EVERYTHING: Final = PathMatch(PathMatchKind.PREFIX, "/")


@dataclass(frozen=True, slots=True)
class Options:
    """The options that describe one permission, as they were typed."""

    methods: Sequence[str] = ()
    path_exact: str = ""
    path_prefix: str = ""
    path_regex: str = ""
    headers: Sequence[str] = ()
    jwt: Sequence[str] = ()

    def permission(self, action: Action) -> Permission | None:
        """Return the permission, or None if no option was given.

        Raises:
            InvalidInputError: with everything that cannot be read.

        """
        report = Report("the permission")
        paths = (
            (PathMatchKind.EXACT, self.path_exact),
            (PathMatchKind.PREFIX, self.path_prefix),
            (PathMatchKind.REGEX, self.path_regex),
        )
        given = [PathMatch(kind, value) for kind, value in paths if value]
        if len(given) > 1:
            report.add("--path-*", "give one of --path-exact, --path-prefix and --path-regex")
        permission = Permission(
            action,
            given[0] if given else None,
            tuple(dict.fromkeys(method.upper() for method in self.methods)),
            tuple(header for text in self.headers for header in _header(text, report)),
            _requirements(self.jwt, report),
        )
        report.close()
        return permission if permission != Permission(action) else None


def with_permission(
    known: Intention | None, changed: Intention, permission: Permission, *, first: bool
) -> Intention:
    """Return ``changed`` with the permissions of ``known`` and ``permission`` among them.

    A permission with the same conditions is replaced, so that doing it again changes nothing.
    A new one comes last, but before one that matches every request, after which it would never
    be asked; or ``first``.  What the intention did so far with every request stays as its last
    word where ``permission`` is an exception to it.
    """
    before = list(known.permissions) if known else []
    if known and known.action is not None and known.action is not permission.action:
        before = [Permission(known.action, EVERYTHING)]
    places = [place for place, each in enumerate(before) if _same_conditions(each, permission)]
    if places and not first:
        before[places[0]] = permission
    else:
        before = [each for each in before if not _same_conditions(each, permission)]
        before.insert(0 if first else _end(before), permission)
    return replace(changed, action=None, permissions=tuple(before))


def describe(permission: Permission) -> str:
    """Write a permission on one line: ``allow GET,POST /v1/* x-role=admin jwt okta:team=x``."""
    said = [
        ",".join(permission.methods),
        _path(permission.path) if permission.path else "",
        *map(header_text, permission.headers),
        *([f"jwt {jwt_text(permission.jwt)}"] if permission.jwt else []),
    ]
    conditions = " ".join(filter(None, said)) or "every request"
    return f"{permission.action} {conditions}"


def header_text(header: HeaderMatch) -> str:
    """Write a header condition as it is typed."""
    invert = "!" if header.invert else ""
    if header.kind is HeaderMatchKind.PRESENT:
        return f"{invert}{header.name}"
    sign = next(sign for sign, kind in _SIGNS.items() if kind is header.kind)
    case = " (any case)" if header.ignore_case else ""
    return f"{invert}{header.name}{sign}{header.value}{case}"


def jwt_text(requirements: Iterable[JwtRequirement]) -> str:
    """Write token requirements, of which one must be met, as they are typed."""
    said = []
    for need in requirements:
        claims = [f"{'.'.join(claim.path)}={claim.value}" for claim in need.claims]
        said.append(":".join([need.provider, ",".join(claims)]) if claims else need.provider)
    return " or ".join(said)


def _path(path: PathMatch) -> str:
    match path.kind:
        case PathMatchKind.EXACT:
            return path.value
        case PathMatchKind.PREFIX:
            return f"{path.value}*"
        case PathMatchKind.REGEX:
            return f"~{path.value}"


def _header(text: str, report: Report) -> Sequence[HeaderMatch]:
    found = _HEADER.fullmatch(text)
    if found is None:
        report.add(
            "--header",
            f"{text!r} is not a condition: write name, name=value, name^=prefix, name$=suffix, "
            "name*=part or name~=regex; a leading ! inverts",
        )
        return ()
    invert, name, sign, value = found.groups()
    kind = _SIGNS[sign] if sign else HeaderMatchKind.PRESENT
    return (HeaderMatch(name, kind, value or "", invert=bool(invert)),)


def _requirements(texts: Iterable[str], report: Report) -> tuple[JwtRequirement, ...]:
    claims: dict[str, tuple[ClaimMatch, ...]] = {}
    for text in texts:
        provider, colon, claim = text.partition(":")
        path, equals, value = claim.partition("=")
        if not provider or (colon and not (path and equals and value)):
            report.add("--jwt", f"{text!r}: write provider, or provider:claim=value")
            continue
        steps = tuple(step.replace(r"\.", ".") for step in _STEP.split(path))
        claims.setdefault(provider, ())
        if colon:
            claims[provider] += (ClaimMatch(steps, value),)
    return tuple(JwtRequirement(provider, found) for provider, found in claims.items())


def _same_conditions(one: Permission, other: Permission) -> bool:
    return replace(one, action=other.action) == other


def _end(permissions: Sequence[Permission]) -> int:
    last = permissions[-1] if permissions else None
    matches_all = last is not None and last == Permission(last.action, EVERYTHING)
    return len(permissions) - matches_all
