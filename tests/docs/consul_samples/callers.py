"""Entries of who may call whom, and with which tokens."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from typing import Any, Final

from mesh.clients.consul.intention_entries import parse_entry
from mesh.sources.consul.jwt import parse_jwt_provider
from tests.docs.consul_samples.sampled import Json, Sampled

_KEYS: Final = base64.b64encode(
    b'{"keys": [{"kty": "oct", "kid": "k", "k": "c2VjcmV0LXNlY3JldC1zZWNyZXQtc2VjcmV0"}]}'
).decode()


def _source(**more: Any) -> Json:
    source = {"Name": "web", "Type": "consul", "Description": "d", **more}
    return {"Kind": "service-intentions", "Name": "api", "Sources": [source]}


def _allowing(http: Json, **more: Any) -> Json:
    return _source(Permissions=[{"Action": "allow", "HTTP": http, **more}])


def _jwt(where: Json, keys: Json) -> Json:
    return {"Kind": "jwt-provider", "Name": "idp", "Issuer": "i", "JSONWebKeySet": keys, **where}


_CLAIMS: Final = {"Providers": [{"Name": "idp", "VerifyClaims": [{"Path": ["r"], "Value": "a"}]}]}

SAMPLED: Final[Sequence[Sampled]] = (
    Sampled(
        "service-intentions",
        parse_entry,
        [
            {**_allowing({"PathPrefix": "/v1", "Methods": ["GET"]}, JWT=_CLAIMS), "JWT": _CLAIMS},
            _source(Action="allow", LegacyID="l", Precedence=9),
            {
                "Kind": "service-intentions",
                "Name": "api",
                "Sources": [
                    {"Name": "web", "Action": "allow", "Peer": "other"},
                    {"Name": "app", "Action": "allow"},
                ],
            },
            _allowing({"PathExact": "/"}),
            _allowing({"PathRegex": "/[0-9]+"}),
            _allowing(
                {"Header": [{"Name": "x", "Exact": "1", "Invert": True, "IgnoreCase": True}]}
            ),
            *(
                _allowing({"Header": [{"Name": "x", condition: value}]})
                for condition, value in (
                    ("Present", True),
                    ("Prefix", "a"),
                    ("Suffix", "a"),
                    ("Contains", "a"),
                    ("Regex", "a"),
                )
            ),
        ],
        {("Sources", 0, "SamenessGroup"): "group"},
        {
            "Sources[].Peer": "The source is a service of that peer: see "
            "[callers of a peer](../guides/intentions.md#callers-of-a-peer)."
        },
    ),
    Sampled(
        "jwt-provider",
        parse_jwt_provider,
        [
            _jwt(
                {
                    "Audiences": ["a"],
                    "Locations": [{"Header": {"Name": "x", "ValuePrefix": "B ", "Forward": True}}],
                    "Forwarding": {"HeaderName": "x-u", "PadForwardPayloadHeader": True},
                    "ClockSkewSeconds": 5,
                    "CacheConfig": {"Size": 10},
                },
                {"Local": {"JWKS": _KEYS}},
            ),
            _jwt(
                {"Locations": [{"QueryParam": {"Name": "t"}}, {"Cookie": {"Name": "c"}}]},
                {
                    "Remote": {
                        "URI": "https://idp.example/keys",
                        "RequestTimeoutMs": 500,
                        "CacheDuration": "60s",
                        "FetchAsynchronously": True,
                        "RetryPolicy": {"NumRetries": 3},
                        "UseSNI": True,
                        "JWKSCluster": {"DiscoveryType": "STATIC"},
                    }
                },
            ),
        ],
        {("JSONWebKeySet", "Local", "Filename"): "/etc/keys"},
        {
            "Locations[].Header.Forward": "It holds for every place of the provider; a "
            "MeshRequestAuthentication always passes the token on.",
            "JSONWebKeySet.Remote.URI": "Envoy fetches it from that address, by its public "
            "certificate.",
        },
    ),
)
