"""What a MeshHTTPRoute does to requests and answers beside sending them on: its filters.

The names and fields are Gateway API's; ``DirectResponse`` is the mesh's own.  Each filter takes
a route and returns it with its own part set.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, model_validator

from mesh.model.traffic import (
    Forward,
    Mirror,
    PathRewrite,
    Redirect,
    Respond,
    RewriteKind,
    Route,
)
from mesh.policies.backends import Backend
from mesh.policies.kinds.http_route.cors import CorsModel
from mesh.policies.shape import Strict
from mesh.policies.units import HeaderModifier, Hostname, Percent, Port

NewPath = Annotated[str, Field(pattern=r"^/[^?#\s]*$")]


class FullPath(Strict):
    """Another path altogether."""

    type: Literal["ReplaceFullPath"]
    """What is replaced."""
    replace_full_path: NewPath
    """The new path; the query stays."""

    def form(self) -> PathRewrite:
        """Return the intermediate form."""
        return PathRewrite(RewriteKind.FULL, self.replace_full_path)


class PrefixPath(Strict):
    """Another beginning of the path."""

    type: Literal["ReplacePrefixMatch"]
    """What is replaced."""
    replace_prefix_match: NewPath
    """What takes the place of the prefix that the rule matched."""

    def form(self) -> PathRewrite:
        """Return the intermediate form."""
        value = self.replace_prefix_match.rstrip("/") or "/"
        return PathRewrite(RewriteKind.PREFIX, value)


NewPathModel = Annotated[FullPath | PrefixPath, Field(discriminator="type")]


class Part(Strict):
    """What all filters have: the part of a route that they set, and whether they answer."""

    sets: ClassVar[str] = "action"
    answers: ClassVar[bool] = False

    @property
    def new_path(self) -> FullPath | PrefixPath | None:
        """The path that takes the place of the request's, if there is one."""
        return None


class RequestHeaderFilter(Part):
    """Changes the headers of requests."""

    sets: ClassVar[str] = "request_headers"
    type: Literal["RequestHeaderModifier"]
    """The kind of filter."""
    request_header_modifier: HeaderModifier
    """What changes before the request is sent on."""

    def on(self, route: Route) -> Route:
        """Return ``route`` with this filter."""
        return replace(route, request_headers=self.request_header_modifier.form())


class ResponseHeaderFilter(Part):
    """Changes the headers of answers."""

    sets: ClassVar[str] = "response_headers"
    type: Literal["ResponseHeaderModifier"]
    """The kind of filter."""
    response_header_modifier: HeaderModifier
    """What changes before the answer goes to the caller."""

    def on(self, route: Route) -> Route:
        """Return ``route`` with this filter."""
        return replace(route, response_headers=self.response_header_modifier.form())


class RequestMirror(Strict):
    """A copy of requests, whose answers nobody waits for."""

    percentage: Percent = 100.0
    """How many of the requests are copied."""
    backend_ref: Backend
    """Who gets the copies."""


class MirrorFilter(Part):
    """Copies requests to another service."""

    sets: ClassVar[str] = "mirrors"
    type: Literal["RequestMirror"]
    """The kind of filter."""
    request_mirror: RequestMirror
    """Whom to copy to, and how many."""

    def on(self, route: Route) -> Route:
        """Return ``route`` with this filter beside other mirrors."""
        mirror = Mirror(self.request_mirror.backend_ref.target, self.request_mirror.percentage)
        return replace(route, mirrors=(*route.mirrors, mirror))


class RequestRedirect(Strict):
    """Where the caller shall ask instead; what is absent stays as it was asked."""

    scheme: Literal["http", "https"] | None = None
    """The new scheme."""
    hostname: Hostname | None = None
    """The new host."""
    port: Port | None = None
    """The new port."""
    path: NewPathModel | None = None
    """The new path, or the new beginning of it."""
    status_code: Literal[301, 302, 303, 307, 308] = 302
    """307 and 308 keep the method; 301 and 308 may be remembered."""

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if not (self.scheme or self.hostname or self.port or self.path):
            raise ValueError("redirects to itself: give scheme, hostname, port or path")
        return self


class RedirectFilter(Part):
    """Answers with a redirect."""

    answers: ClassVar[bool] = True
    type: Literal["RequestRedirect"]
    """The kind of filter."""
    request_redirect: RequestRedirect
    """Where the caller shall ask."""

    def on(self, route: Route) -> Route:
        """Return ``route`` with this filter's answer."""
        to = self.request_redirect
        action = Redirect(
            status=to.status_code,
            scheme=to.scheme or "",
            host=to.hostname or "",
            port=to.port or 0,
            path=to.path.form() if to.path else None,
        )
        return replace(route, action=action)

    @property
    def new_path(self) -> FullPath | PrefixPath | None:
        """The path of the redirect."""
        return self.request_redirect.path


class UrlRewrite(Strict):
    """What the request says to the service instead of what the caller said."""

    hostname: Hostname | None = None
    """The new `Host`."""
    path: NewPathModel | None = None
    """The new path, or the new beginning of it."""

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if not (self.hostname or self.path):
            raise ValueError("rewrites nothing: give hostname or path")
        return self


class RewriteFilter(Part):
    """Rewrites the host or the path of requests."""

    type: Literal["URLRewrite"]
    """The kind of filter."""
    url_rewrite: UrlRewrite
    """The new host and path."""

    def on(self, route: Route) -> Route:
        """Return ``route`` with this filter; one that forwards nothing stays as it is."""
        if not isinstance(route.action, Forward):
            return route
        path = self.url_rewrite.path
        action = replace(
            route.action,
            host=self.url_rewrite.hostname or "",
            path=path.form() if path else None,
        )
        return replace(route, action=action)

    @property
    def new_path(self) -> FullPath | PrefixPath | None:
        """The path that the service sees."""
        return self.url_rewrite.path


class CorsFilter(Part):
    """Answers preflight requests and marks answers for browsers."""

    sets: ClassVar[str] = "cors"
    type: Literal["CORS"]
    """The kind of filter."""
    cors: CorsModel
    """Who may call, and how."""

    def on(self, route: Route) -> Route:
        """Return ``route`` with this filter."""
        return replace(route, cors=self.cors.form())


class DirectResponse(Strict):
    """An answer that asks nobody."""

    status: int = Field(ge=200, le=599)
    """The status code."""
    body: str = Field(default="", max_length=4096)
    """The body, as text."""


class ResponseFilter(Part):
    """Answers without asking anybody."""

    answers: ClassVar[bool] = True
    type: Literal["DirectResponse"]
    """The kind of filter."""
    direct_response: DirectResponse
    """The answer."""

    def on(self, route: Route) -> Route:
        """Return ``route`` with this filter's answer."""
        answer = self.direct_response
        return replace(route, action=Respond(answer.status, answer.body))


Filter = Annotated[
    RequestHeaderFilter
    | ResponseHeaderFilter
    | MirrorFilter
    | RedirectFilter
    | RewriteFilter
    | CorsFilter
    | ResponseFilter,
    Field(discriminator="type"),
]
