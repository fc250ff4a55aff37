"""MeshExternalAuthorization: ask a service of the mesh whether a request may pass.

Intentions are asked first: what they refuse never reaches the authorization service.  Source:
Envoy's ``ext_authz`` filter and the Gateway API's external authorization.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Final, Literal, Self

from pydantic import Field, model_validator

from mesh.model.inbound import ExternalAuthorization, FailureMode, InboundRoute
from mesh.model.services import Protocol
from mesh.policies.kind import Kind
from mesh.policies.shape import Strict, given
from mesh.policies.spec import RulesSpec
from mesh.policies.units import Count, Duration, HeaderName, ServiceName
from mesh.policies.unread import REFUSAL

_HTTP_ONLY: Final = ("path_prefix", "request_headers", "upstream_headers")


class Authorization(Strict):
    """The ``default`` of MeshExternalAuthorization."""

    disabled: Literal[True] | None = None
    """Ask nobody about the requests that match; nothing else may be said then."""
    service: ServiceName | None = None
    """The authorization service, a service of the mesh."""
    protocol: Literal["grpc", "http"] | None = None
    """What it speaks: Envoy's gRPC API (``grpc``, where nothing is said) or plain HTTP."""
    path_prefix: Annotated[str, Field(pattern=r"^/")] | None = None
    """What is put before the request's path (``http``)."""
    request_headers: tuple[HeaderName, ...] | None = None
    """Request headers sent to it beside Host, Method, Path and Authorization (``http``)."""
    upstream_headers: tuple[HeaderName, ...] | None = None
    """Headers of its answer that the application shall see (``http``)."""
    timeout: Annotated[Duration, Field(gt=0)] | None = None
    """How long it may take to answer; 200ms where nothing is said."""
    failure_mode: Literal["Open", "Closed"] | None = None
    """Whether requests pass (``Open``) while it does not answer; ``Closed`` if unsaid."""
    max_request_bytes: Count | None = None
    """Bytes of the request's body that are sent along; none where nothing is said."""

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if self.disabled:
            if len(self.model_fields_set) > 1:
                raise ValueError("disabled takes nothing beside it")
            return self
        if self.service is None:
            raise ValueError("needs a service, or disabled: true")
        said = [name for name in _HTTP_ONLY if getattr(self, name) is not None]
        if said and self.protocol != "http":
            names = ", ".join(str(type(self).model_fields[name].alias) for name in said)
            raise ValueError(f"takes {names} only with protocol http")
        return self

    def form(self) -> ExternalAuthorization | None:
        """Return the intermediate form; None asks nobody."""
        if self.service is None:
            return None
        fields = given(
            protocol=None if self.protocol is None else Protocol(self.protocol),
            path_prefix=self.path_prefix,
            request_headers=_lower(self.request_headers),
            upstream_headers=_lower(self.upstream_headers),
            timeout=self.timeout,
            failure=None if self.failure_mode is None else _FAILURE[self.failure_mode],
            max_body=self.max_request_bytes,
        )
        return ExternalAuthorization(self.service, **fields)


_FAILURE: Final = {"Open": FailureMode.OPEN, "Closed": FailureMode.CLOSED}

AuthorizationSpec = RulesSpec[Authorization]


def _lower(names: tuple[str, ...] | None) -> tuple[str, ...] | None:
    return None if names is None else tuple(name.lower() for name in names)


def _on_inbound_route(conf: Authorization, route: InboundRoute, protocol: Protocol) -> InboundRoute:
    return replace(route, authorization=conf.form()) if protocol.is_http else route


KIND: Final = Kind(
    name="MeshExternalAuthorization",
    summary="Ask a service of the mesh whether a request may pass (Envoy's ext_authz).",
    conf=Authorization,
    spec=AuthorizationSpec,
    on_inbound_route=_on_inbound_route,
    closing=REFUSAL,
    example="""\
type: MeshExternalAuthorization
name: api-entitlements
spec:
  targetRef:
    kind: Dataplane
    labels: {service: api}
  rules:
    - matches:
        - path: {type: Exact, value: /health}
      default:
        disabled: true
    - default:
        service: entitlements
        protocol: http
        pathPrefix: /check
        requestHeaders: [x-tenant]
        upstreamHeaders: [x-user-id]
        timeout: 100ms
        failureMode: Closed
        maxRequestBytes: 8192
""",
)
