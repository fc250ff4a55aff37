"""``jwt-provider`` entries.  Pure."""

from __future__ import annotations

import base64
import binascii
import json
from urllib.parse import urlsplit

from jwt import PyJWK
from jwt.exceptions import PyJWTError

from mesh.clients.consul.fields import Fields
from mesh.clients.consul.intention_entries import BOOKKEEPING, default_tenancy
from mesh.model.intentions import JwtLocation, JwtProvider
from mesh.model.violations import Report
from mesh.sources.consul.problems import Raw

KIND = "jwt-provider"

_TIMEOUT = 1.0
_CACHE = 300.0
_CLOCK_SKEW = 30
_LONGEST = 366 * 24 * 3600
"""Seconds: no sensible duration is longer, and Envoy can count no more than 32 bits of them."""


def parse_jwt_provider(raw: Raw) -> JwtProvider:
    """Read a ``jwt-provider`` entry.

    Raises:
        InvalidInputError: with every violation.

    """
    report = Report(f"{KIND} {raw.get('Name', '')}".strip())
    entry = Fields(raw, "", report)
    name = entry.text("Name", required=True)
    default_tenancy(entry)
    issuer = entry.text("Issuer", required=True)
    audiences = entry.texts("Audiences")
    jwks, uri, timeout, cache = _keys(entry)
    found = [_location(item) for item in entry.children("Locations")]
    forwarding = entry.child("Forwarding")
    forward_header, padded = "", False
    if forwarding is not None:
        forward_header = forwarding.text("HeaderName", required=True)
        padded = forwarding.boolean("PadForwardPayloadHeader")
        forwarding.close()
    skew = entry.integer("ClockSkewSeconds") or _CLOCK_SKEW
    if skew > _LONGEST:
        entry.wrong("ClockSkewSeconds", f"must not be over {_LONGEST}")
    entry.skip((*BOOKKEEPING, "CacheConfig"))
    entry.close()
    report.close()
    return JwtProvider(
        name=name,
        issuer=issuer,
        jwks=jwks,
        remote_uri=uri,
        remote_timeout=timeout,
        remote_cache=cache,
        audiences=audiences,
        locations=tuple(location for location, _ in found),
        # Envoy knows it of a provider only; Consul says it of a location.
        forward=any(forward for _, forward in found),
        forward_header=forward_header,
        forward_padded=padded,
        clock_skew=skew,
    )


def _keys(entry: Fields) -> tuple[str, str, float, float]:
    keys = entry.child("JSONWebKeySet")
    if keys is None:
        entry.wrong("JSONWebKeySet", "is required: Local or Remote")
        return "", "", _TIMEOUT, _CACHE
    local, remote = keys.child("Local"), keys.child("Remote")
    if (local is None) == (remote is None):
        keys.wrong("", "must have exactly one of Local and Remote")
    keys.close()
    jwks = _local(local) if local is not None else ""
    if remote is None:
        return jwks, "", _TIMEOUT, _CACHE
    uri = remote.text("URI", required=True)
    if uri and not _can_be_dialled(uri):
        remote.wrong("URI", f"{uri!r} must be https://HOST[:PORT]/... or http://HOST[:PORT]/...")
    milliseconds = remote.integer("RequestTimeoutMs")
    if milliseconds > _LONGEST * 1000:
        remote.wrong("RequestTimeoutMs", f"must not be over {_LONGEST * 1000}")
    cache = remote.seconds("CacheDuration", _CACHE)
    if cache > _LONGEST:
        remote.wrong("CacheDuration", f"must not be over {_LONGEST} s")
    remote.skip(("FetchAsynchronously", "RetryPolicy", "UseSNI", "JWKSCluster"))
    remote.close()
    return jwks, uri, milliseconds / 1000 or _TIMEOUT, cache


def _can_be_dialled(uri: str) -> bool:
    try:
        place = urlsplit(uri)
        return place.scheme in {"http", "https"} and bool(place.hostname) and place.port != 0
    except ValueError:
        return False


def _local(local: Fields) -> str:
    encoded = local.text("JWKS")
    if local.text("Filename"):
        local.wrong("Filename", "names a file on every proxy's host; give JWKS instead")
    elif not encoded:
        local.wrong("JWKS", "is required: the key set, in base64")
    local.close()
    try:
        jwks = base64.b64decode(encoded, validate=True).decode()
        keys = json.loads(jwks).get("keys") if encoded else None
    except (binascii.Error, ValueError, AttributeError, RecursionError):
        local.wrong("JWKS", "is not a JSON Web Key Set in base64")
        return ""
    if encoded:
        _check_keys(local, keys)
    return jwks


def _check_keys(local: Fields, keys: object) -> None:
    """See that Envoy can use the keys: it refuses a whole filter for one that it cannot read."""
    if not isinstance(keys, list) or not keys:
        local.wrong("JWKS", 'is not a JSON Web Key Set: it has no key in "keys"')
        return
    for index, key in enumerate(keys):
        try:
            PyJWK.from_dict(key)
        except (PyJWTError, ValueError, TypeError, AttributeError) as error:
            local.wrong("JWKS", f"keys[{index}] cannot be used: {error}")


def _location(fields: Fields) -> tuple[JwtLocation, bool]:
    """Return where a token may be, and whether it stays there."""
    header, query, cookie = (fields.child(name) for name in ("Header", "QueryParam", "Cookie"))
    fields.close()
    if sum(place is not None for place in (header, query, cookie)) != 1:
        fields.wrong("", "must have exactly one of Header, QueryParam and Cookie")
    names: list[str] = []
    prefix, forward = "", False
    for place in (header, query, cookie):
        names.append("" if place is None else place.text("Name", required=True))
        if place is None:
            continue
        if place is header:
            prefix = place.text("ValuePrefix")
            forward = place.boolean("Forward")
        place.close()
    location = JwtLocation(
        header=names[0], value_prefix=prefix, query_param=names[1], cookie=names[2]
    )
    return location, forward
