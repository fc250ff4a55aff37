"""MeshRequestAuthentication: which end users' tokens (JWT) a service takes.

Who issues tokens is said once, by Consul's ``jwt-provider`` entries; a policy names them.
Source: Consul's reference of ``jwt-provider``; Envoy's ``jwt_authn`` filter.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Final, Self

from pydantic import BeforeValidator, Field, model_validator

from mesh.model.inbound import InboundRoute, TokenRule
from mesh.model.services import Protocol
from mesh.policies.kind import Kind
from mesh.policies.shape import Strict
from mesh.policies.spec import RulesSpec
from mesh.policies.unread import REFUSAL


def _claim_path(value: object) -> object:
    if isinstance(value, str):
        return tuple(value.split("."))
    if isinstance(value, list):
        return tuple(value)
    raise ValueError("expected text such as realm.role, or a list of names")


ClaimPath = Annotated[
    tuple[Annotated[str, Field(min_length=1)], ...],
    BeforeValidator(_claim_path, json_schema_input_type=str | list[str]),
    Field(min_length=1),
]


class Claim(Strict):
    """A claim that the token must have."""

    path: ClaimPath
    """Names from the outside in, separated by dots; a list where a name has a dot itself."""
    value: str
    """What the claim says."""


class RequestAuthentication(Strict):
    """The ``default`` of MeshRequestAuthentication."""

    providers: tuple[Annotated[str, Field(min_length=1)], ...] = Field(min_length=1)
    """Names of ``jwt-provider`` entries; any one of them must have issued the token."""
    claims: tuple[Claim, ...] = ()
    """What the token must say; all of it."""
    optional: bool = False
    """Whether a request without a token passes.  A token that is not valid never does."""

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if self.optional and self.claims:
            raise ValueError("takes no claims where the token is optional")
        if len(set(self.providers)) < len(self.providers):
            raise ValueError("names a provider twice")
        return self


RequestAuthenticationSpec = RulesSpec[RequestAuthentication]


def _on_inbound_route(
    conf: RequestAuthentication, route: InboundRoute, protocol: Protocol
) -> InboundRoute:
    if not protocol.is_http:
        return route
    claims = tuple((claim.path, claim.value) for claim in conf.claims)
    return replace(route, token=TokenRule(conf.providers, claims, conf.optional))


KIND: Final = Kind(
    name="MeshRequestAuthentication",
    summary="Which end users' tokens (JWT) a service demands, and what they must say.",
    conf=RequestAuthentication,
    spec=RequestAuthenticationSpec,
    on_inbound_route=_on_inbound_route,
    closing=REFUSAL,
    example="""\
type: MeshRequestAuthentication
name: api-users
spec:
  targetRef:
    kind: Dataplane
    labels: {service: api}
  rules:
    - matches:
        - path: {type: PathPrefix, value: /admin}
      default:
        providers: [corporate]
        claims:
          - {path: realm.role, value: admin}
    - matches:
        - path: {type: PathPrefix, value: /public}
      default:
        providers: [corporate]
        optional: true
    - default:
        providers: [corporate, partners]
""",
)
