"""Types that several policies' models share, and their conversion to the intermediate form.

Durations are written as Go and Kuma write them (``1m30s``, ``250ms``); percentages are numbers
from 0 to 100.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Annotated, Final, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from mesh.model.intentions import HeaderMatch, HeaderMatchKind
from mesh.model.names import InvalidNameError, service_name
from mesh.model.requests import (
    CallerMatch,
    HeaderEdits,
    Match,
    PathKind,
    PathMatch,
    QueryKind,
    QueryMatch,
)
from mesh.policies.intentions.paths import normalise
from mesh.policies.intentions.re2 import InvalidRegexError, compile_re2
from mesh.policies.shape import Strict

_DURATION: Final = re.compile(r"(?:\d+(?:\.\d+)?(?:ms|s|m|h))+")
_EACH: Final = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h)")
_UNITS: Final = {"ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
_TEN_YEARS: Final = 315_360_000
_PATHS: Final = {
    "Exact": PathKind.EXACT,
    "PathPrefix": PathKind.SEGMENTS,
    "RegularExpression": PathKind.REGEX,
}
_HEADERS: Final = {
    "Exact": HeaderMatchKind.EXACT,
    "Prefix": HeaderMatchKind.PREFIX,
    "RegularExpression": HeaderMatchKind.REGEX,
    "Present": HeaderMatchKind.PRESENT,
    "Absent": HeaderMatchKind.PRESENT,
}
_QUERIES: Final = {
    "Exact": QueryKind.EXACT,
    "RegularExpression": QueryKind.REGEX,
    "Present": QueryKind.PRESENT,
}


def _seconds(value: object) -> object:
    if isinstance(value, bool) or not isinstance(value, int | str) or value in ("", "-"):
        raise ValueError("expected a duration such as 250ms, 15s or 1m30s")
    if value in (0, "0"):
        return 0.0
    if not isinstance(value, str) or not _DURATION.fullmatch(value):
        raise ValueError(f"{value!r} is not a duration: write 250ms, 15s or 1m30s")
    return sum(float(count) * _UNITS[unit] for count, unit in _EACH.findall(value))


def _number(value: object) -> object:
    return float(value) if isinstance(value, int) and not isinstance(value, bool) else value


def _service(value: str) -> str:
    try:
        return service_name(value)
    except InvalidNameError as error:
        raise ValueError(str(error)) from error


def _regex(value: object) -> object:
    if isinstance(value, str):
        try:
            compile_re2(value)
        except InvalidRegexError as error:
            raise ValueError(f"not a usable RE2 expression: {error}") from error
    return value


Duration = Annotated[
    float,
    BeforeValidator(_seconds, json_schema_input_type=str),
    Field(ge=0, le=_TEN_YEARS, json_schema_extra={"format": "duration"}),
]
"""Seconds, zero or more."""
PositiveDuration = Annotated[Duration, Field(ge=0.001)]
"""Seconds, a millisecond or more."""
Percent = Annotated[float, BeforeValidator(_number), Field(ge=0, le=100)]
Port = Annotated[int, Field(ge=1, le=65_535)]
ServiceName = Annotated[str, BeforeValidator(lambda v: _service(v) if isinstance(v, str) else v)]
Count = Annotated[int, Field(ge=1, le=2**31 - 1)]
Hostname = Annotated[
    str, Field(max_length=253, pattern=r"^[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?$")
]
Regex = Annotated[str, BeforeValidator(_regex)]
"""An RE2 expression that matches the whole text."""


class PathModel(Strict):
    """A condition on the path, without its query."""

    type: Literal["Exact", "PathPrefix", "RegularExpression"]
    """How `value` is compared; a prefix is of whole segments."""
    value: str = Field(min_length=1)
    """The path, its beginning, or an RE2 expression for the whole of it."""

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if self.type == "RegularExpression":
            _regex(self.value)
        elif not self.value.startswith("/"):
            raise ValueError(f"{self.value!r} must start with '/'")
        elif set(self.value) & {"?", "#"}:
            raise ValueError(f"{self.value!r} has a query or fragment, a path has none")
        elif (seen := normalise(self.value)) != self.value:
            raise ValueError(f"no path is {self.value!r} once it is normalised: write {seen!r}")
        return self

    def form(self) -> PathMatch:
        """Return the intermediate form; ``/a/`` and ``/a`` are the same prefix."""
        value = (self.value.rstrip("/") or "/") if self.type == "PathPrefix" else self.value
        return PathMatch(_PATHS[self.type], value)


class HeaderModel(Strict):
    """A condition on a header."""

    type: Literal["Exact", "Prefix", "RegularExpression", "Present", "Absent"] = "Exact"
    """How `value` is compared."""
    name: str = Field(min_length=1, pattern=r"^[A-Za-z0-9!#$%&'*+.^_`|~:-]+$")
    """The header; letter case does not matter."""
    value: str = ""
    """What it is compared with."""

    @model_validator(mode="after")
    def _whole(self) -> Self:
        _check_valued(self.type, self.value)
        return self

    def form(self) -> HeaderMatch:
        """Return the intermediate form."""
        return HeaderMatch(
            self.name.lower(), _HEADERS[self.type], self.value, invert=self.type == "Absent"
        )


class QueryModel(Strict):
    """A condition on a query parameter."""

    type: Literal["Exact", "RegularExpression", "Present"] = "Exact"
    """How `value` is compared."""
    name: str = Field(min_length=1)
    """The parameter."""
    value: str = ""
    """What it is compared with."""

    @model_validator(mode="after")
    def _whole(self) -> Self:
        _check_valued(self.type, self.value)
        return self

    def form(self) -> QueryMatch:
        """Return the intermediate form."""
        return QueryMatch(self.name, _QUERIES[self.type], self.value)


class CallerModel(Strict):
    """A condition on the calling service, proven by its certificate."""

    service: ServiceName
    """The caller."""
    zone: str = ""
    """Its zone; absent, it is any."""


Method = Literal["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "CONNECT", "OPTIONS", "TRACE"]


class GrpcModel(Strict):
    """A condition on a gRPC call: the full service name, perhaps the method."""

    service: str = Field(min_length=1, pattern=r"^[A-Za-z0-9_.]+$")
    """The full name, such as `shop.Cart`."""
    method: str = Field(default="", pattern=r"^[A-Za-z0-9_]*$")
    """The method; absent, it is any."""

    def form(self) -> PathMatch:
        """Return the intermediate form: the path that gRPC over HTTP/2 uses."""
        kind = PathKind.EXACT if self.method else PathKind.PREFIX
        return PathMatch(kind, f"/{self.service}/{self.method}")


class MatchModel(Strict):
    """Conditions on a request, ANDed."""

    path: PathModel | None = None
    """The path, without its query."""
    grpc: GrpcModel | None = None
    """The gRPC call, in place of `path`."""
    method: Method | None = None
    """The method."""
    headers: tuple[HeaderModel, ...] = ()
    """Headers, all of them."""
    query_params: tuple[QueryModel, ...] = ()
    """Query parameters, all of them."""

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if self.path and self.grpc:
            raise ValueError("takes either path or grpc")
        return self

    def form(self) -> Match:
        """Return the intermediate form."""
        path = self.path or self.grpc
        return Match(
            path=path.form() if path else None,
            methods=(self.method,) if self.method else (),
            headers=tuple(each.form() for each in self.headers),
            query=tuple(each.form() for each in self.query_params),
        )


class InboundMatchModel(MatchModel):
    """Conditions on a call that comes in: on the request, and on who makes it."""

    source: CallerModel | None = None
    """Who calls."""

    def form(self) -> Match:
        """Return the intermediate form."""
        found = super().form()
        if self.source is None:
            return found
        caller = CallerMatch(self.source.service, self.source.zone)
        return Match(found.path, found.methods, found.headers, found.query, (caller,))


def _changeable(value: str) -> str:
    if value.lower() == "host":
        raise ValueError("the host is no header of HTTP/2: rewrite it with MeshHTTPRoute")
    return value


HeaderName = Annotated[str, Field(pattern=r"^[A-Za-z0-9!#$%&'*+.^_`|~-]+$")]
"""A header (a token of RFC 9110, section 5.6.2)."""
ChangeableHeader = Annotated[HeaderName, AfterValidator(_changeable)]
"""A header that may be changed."""


class HeaderValue(Strict):
    """A header and its value."""

    name: ChangeableHeader
    """The header."""
    value: str = Field(max_length=16_384, pattern=r"^[^\x00-\x08\x0a-\x1f\x7f]*$")
    """Its value."""


class HeaderModifier(Strict):
    """Changes to headers: ``set`` replaces, ``add`` appends, ``remove`` takes away."""

    set: tuple[HeaderValue, ...] = ()
    """Headers that get this value, whatever they had."""
    add: tuple[HeaderValue, ...] = ()
    """Values that are added to what the headers have."""
    remove: tuple[ChangeableHeader, ...] = ()
    """Headers that are taken away."""

    def form(self) -> HeaderEdits:
        """Return the intermediate form; a literal ``%`` is no Envoy command."""
        return HeaderEdits(
            add=tuple((each.name, literal(each.value)) for each in self.add),
            set=tuple((each.name, literal(each.value)) for each in self.set),
            remove=self.remove,
        )


def literal(value: str) -> str:
    """Escape what Envoy's header format would read as a command."""
    return value.replace("%", "%%")


def indexed(path: str, items: Sequence[object]) -> Iterator[tuple[str, int]]:
    """Yield ``path[i]`` and i for each of ``items``."""
    for index in range(len(items)):
        yield f"{path}[{index}]", index


def _check_valued(kind: str, value: str) -> None:
    if kind in {"Present", "Absent"}:
        if value:
            raise ValueError(f"type {kind} takes no value")
    elif not value:
        raise ValueError(f"type {kind} needs a value")
    if kind == "RegularExpression":
        _regex(value)
