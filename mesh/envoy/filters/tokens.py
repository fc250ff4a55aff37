"""End users' tokens: who must show one, and with which claims.

Two filters: one verifies (``jwt_authn``) and answers 401 where a token is missing or not valid,
the other (RBAC) reads the claims and answers 403.  They stand apart from those that intentions
need, which verify whatever comes and judge later.

A rule none of whose providers is defined refuses everybody with 403: Envoy does so where a route
names a requirement that the filter does not know.

A token is passed on as it came: the authorization service, the rate limit service and the
application behind may want it.

Source: ``envoy.extensions.filters.http.jwt_authn.v3``
(https://www.envoyproxy.io/docs/envoy/latest/configuration/http/http_filters/jwt_authn_filter).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final

from envoy.extensions.filters.http.jwt_authn.v3 import config_pb2
from envoy.extensions.filters.http.rbac.v3 import rbac_pb2
from google.protobuf import empty_pb2

from mesh.envoy import jwt, rbac
from mesh.envoy.filters.parts import Named
from mesh.model.inbound import InboundRoute, TokenRule
from mesh.model.intentions import ClaimMatch, JwtProvider, JwtRequirement

TOKENS: Final = "inbound-tokens"
"""Name of the filter that verifies."""
CLAIMS: Final = "inbound-claims"
"""Name of the filter that reads claims."""
LACKING: Final = "lacking-claims"
"""Name of the RBAC policy that refuses a token; it stands in the response code's details."""

Providers = Mapping[str, JwtProvider]
"""Every ``jwt-provider`` entry by its name."""


def filters(
    routes: Sequence[InboundRoute],
    providers: Providers,
    jwks_cluster: Callable[[JwtProvider], str],
) -> Iterator[Named]:
    """Yield the filters that the rules of ``routes`` need."""
    rules = [route.token for route in routes if route.token is not None]
    if not rules:
        return
    wanted = [providers[name] for name in named_providers(routes) if name in providers]
    verifier = jwt.authentication(wanted, jwks_cluster)
    verifier.ClearField("rules")
    for name in verifier.providers:
        verifier.providers[name].forward = True
    for rule in rules:
        known = [name for name in rule.providers if name in providers]
        if known:
            requirement = _requirement(known, optional=rule.optional)
            verifier.requirement_map[_requirement_name(rule)].CopyFrom(requirement)
    yield TOKENS, verifier
    if any(rule.claims for rule in rules):
        yield CLAIMS, rbac_pb2.RBAC()


def on_route(route: InboundRoute, providers: Providers) -> Iterator[Named]:
    """Yield what ``route`` says to the filters."""
    if route.token is None:
        return
    yield TOKENS, config_pb2.PerRouteConfig(requirement_name=_requirement_name(route.token))
    if route.token.claims:
        yield CLAIMS, _claims(route.token, providers)


def named_providers(routes: Sequence[InboundRoute]) -> tuple[str, ...]:
    """Return the names of the providers that ``routes`` rely on, sorted."""
    rules = [route.token for route in routes if route.token is not None]
    return tuple(sorted({name for rule in rules for name in rule.providers}))


def kept(verifier: Any, routes: Sequence[InboundRoute]) -> Any:
    """Return the intentions' ``verifier`` as it must be in front of the filters here.

    It would take a valid token out of the request, which then reached them without.
    """
    result = config_pb2.JwtAuthentication()
    result.CopyFrom(verifier)
    for name in named_providers(routes):
        if name in result.providers:
            result.providers[name].forward = True
    return result


def _requirement_name(rule: TokenRule) -> str:
    return json.dumps({"any": rule.providers, "optional": rule.optional})


def _requirement(names: Sequence[str], *, optional: bool) -> Any:
    choices = [config_pb2.JwtRequirement(provider_name=name) for name in names]
    if optional:
        choices.append(config_pb2.JwtRequirement(allow_missing=empty_pb2.Empty()))
    if len(choices) == 1:
        return choices[0]
    either = config_pb2.JwtRequirementOrList(requirements=choices)
    return config_pb2.JwtRequirement(requires_any=either)


def _claims(rule: TokenRule, providers: Providers) -> Any:
    """Refuse whoever's token lacks one of the claims."""
    claims = tuple(ClaimMatch(path, value) for path, value in rule.claims)
    known = [providers[name] for name in rule.providers if name in providers]
    good = [_bearers(provider, claims) for provider in known]
    if rule.optional:
        bare = [rbac.not_principal(_bearers(provider, ())) for provider in known]
        good.append(rbac.every_principal(bare) if bare else rbac.anybody())
    lacking = rbac.not_principal(rbac.either_principal(good))
    policies = {LACKING: rbac.policy(lacking, [rbac.anything()])}
    result = rbac_pb2.RBACPerRoute()
    result.rbac.rules.CopyFrom(rbac.rules(policies, default_allow=True))
    return result


def _bearers(provider: JwtProvider, claims: tuple[ClaimMatch, ...]) -> Any:
    shown = jwt.token(JwtRequirement(provider.name, claims), provider.issuer)
    return rbac.every_principal([rbac.principal_with(each) for each in shown])
