"""JSON web tokens: verified by one filter, demanded by another.

``jwt_authn`` verifies whatever token a request carries for each provider and lets every
request pass; the payload of a valid token becomes dynamic metadata.  Whether a token was
needed, and with which claims, is for the RBAC filter after it to say.

Source: ``envoy.extensions.filters.http.jwt_authn.v3``
(https://www.envoyproxy.io/docs/envoy/latest/configuration/http/http_filters/jwt_authn_filter).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

from envoy.extensions.filters.http.jwt_authn.v3 import config_pb2
from envoy.type.matcher.v3 import metadata_pb2, string_pb2, value_pb2
from google.protobuf import empty_pb2

from mesh.envoy.proto import duration
from mesh.model.intentions import ClaimMatch, JwtLocation, JwtProvider, JwtRequirement

JWT_AUTHN: Final = "envoy.filters.http.jwt_authn"
"""Name of the filter, and the namespace of its dynamic metadata."""


def authentication(
    providers: Sequence[JwtProvider], jwks_cluster: Callable[[JwtProvider], str]
) -> Any:
    """Return the filter that verifies tokens of ``providers`` and rejects nothing.

    ``jwks_cluster`` names the cluster from which a provider's remote key set is fetched.
    """
    filter_ = config_pb2.JwtAuthentication()
    checks = []
    for provider in sorted(providers, key=lambda provider: provider.name):
        filter_.providers[provider.name].CopyFrom(_provider(provider, jwks_cluster))
        tolerant = config_pb2.JwtRequirementOrList(
            requirements=[
                config_pb2.JwtRequirement(provider_name=provider.name),
                config_pb2.JwtRequirement(allow_missing_or_failed=empty_pb2.Empty()),
            ]
        )
        checks.append(config_pb2.JwtRequirement(requires_any=tolerant))
    rule = filter_.rules.add()
    rule.match.prefix = "/"
    if len(checks) == 1:
        rule.requires.CopyFrom(checks[0])
    else:
        rule.requires.requires_all.requirements.extend(checks)
    return filter_


def token(requirement: JwtRequirement, issuer: str) -> list[Any]:
    """Return what the metadata must all show: a valid token of ``issuer``, and its claims."""
    shown = [_metadata(requirement.provider, ("iss",), _equals(issuer))]
    return shown + [_claim(requirement.provider, match) for match in requirement.claims]


def _claim(provider: str, match: ClaimMatch) -> Any:
    within = value_pb2.ValueMatcher()
    within.list_match.one_of.CopyFrom(_equals(match.value))
    either = value_pb2.OrMatcher(value_matchers=[_equals(match.value), within])
    return _metadata(provider, match.path, value_pb2.ValueMatcher(or_match=either))


def _equals(text: str) -> Any:
    return value_pb2.ValueMatcher(string_match=string_pb2.StringMatcher(exact=text))


def _metadata(provider: str, path: tuple[str, ...], value: Any) -> Any:
    matcher = metadata_pb2.MetadataMatcher(filter=JWT_AUTHN, value=value)
    for key in (_payload_key(provider), *path):
        matcher.path.add(key=key)
    return matcher


def _payload_key(provider: str) -> str:
    return f"jwt_payload_{provider}"


def _provider(provider: JwtProvider, jwks_cluster: Callable[[JwtProvider], str]) -> Any:
    config = config_pb2.JwtProvider(
        issuer=provider.issuer,
        audiences=provider.audiences,
        payload_in_metadata=_payload_key(provider.name),
        forward=provider.forward,
        forward_payload_header=provider.forward_header,
        pad_forward_payload_header=provider.forward_padded,
        clock_skew_seconds=provider.clock_skew,
    )
    for location in provider.locations:
        _add_location(config, location)
    if provider.jwks:
        config.local_jwks.inline_string = provider.jwks
        return config
    remote = config.remote_jwks
    remote.http_uri.uri = provider.remote_uri
    remote.http_uri.cluster = jwks_cluster(provider)
    remote.http_uri.timeout.CopyFrom(duration(provider.remote_timeout))
    remote.cache_duration.CopyFrom(duration(provider.remote_cache))
    # Keys are fetched ahead of requests and kept while their server is away; a listener does
    # not wait for them.
    remote.async_fetch.fast_listener = True
    return config


def _add_location(config: Any, location: JwtLocation) -> None:
    if location.header:
        config.from_headers.add(name=location.header, value_prefix=location.value_prefix)
    elif location.query_param:
        config.from_params.append(location.query_param)
    elif location.cookie:
        config.from_cookies.append(location.cookie)
