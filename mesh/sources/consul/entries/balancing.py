"""``LoadBalancer`` of a resolver.  Pure."""

from __future__ import annotations

from typing import Final

from mesh.clients.consul.fields import Fields
from mesh.model.destinations import Balancing, HashKind, HashPolicy, LoadBalancing
from mesh.sources.consul.entries.fields import count, duration, visible
from mesh.sources.consul.entries.headers import HEADER_NAME

_POLICIES: Final = {
    "round_robin": Balancing.ROUND_ROBIN,
    "least_request": Balancing.LEAST_REQUEST,
    "random": Balancing.RANDOM,
    "ring_hash": Balancing.RING_HASH,
    "maglev": Balancing.MAGLEV,
}
_HASHED: Final = (Balancing.RING_HASH, Balancing.MAGLEV)
_FIELDS: Final = {
    "header": HashKind.HEADER,
    "cookie": HashKind.COOKIE,
    "query_parameter": HashKind.QUERY,
}
_LARGEST_RING: Final = 8 * 1024 * 1024
_FEWEST_CHOICES: Final = 2


def load_balancing(resolver: Fields) -> LoadBalancing | None:
    """Return how instances are chosen; None leaves that to the mesh's default."""
    said = resolver.child("LoadBalancer")
    if said is None:
        return None
    algorithm = _POLICIES.get(said.choice("Policy", ("", *_POLICIES), ""))
    choices = _choices(said, algorithm)
    smallest, largest = _ring(said, algorithm)
    hashing = tuple(_hash_policy(item) for item in said.children("HashPolicies"))
    if hashing and algorithm not in _HASHED:
        said.wrong("HashPolicies", "are possible with the policies ring_hash and maglev only")
    said.close()
    if algorithm is None:
        return None
    return LoadBalancing(
        algorithm, choices=choices, min_ring=smallest, max_ring=largest, hashing=hashing
    )


def _choices(said: Fields, algorithm: Balancing | None) -> int | None:
    config = said.child("LeastRequestConfig")
    if config is None:
        return None
    if algorithm is not Balancing.LEAST_REQUEST:
        said.wrong("LeastRequestConfig", "is possible with the policy least_request only")
    choices = count(config, "ChoiceCount") or None
    if choices is not None and choices < _FEWEST_CHOICES:
        config.wrong("ChoiceCount", f"must be {_FEWEST_CHOICES} or more")
    config.close()
    return choices


def _ring(said: Fields, algorithm: Balancing | None) -> tuple[int | None, int | None]:
    config = said.child("RingHashConfig")
    if config is None:
        return None, None
    if algorithm is not Balancing.RING_HASH:
        said.wrong("RingHashConfig", "is possible with the policy ring_hash only")
    smallest = count(config, "MinimumRingSize", _LARGEST_RING) or None
    largest = count(config, "MaximumRingSize", _LARGEST_RING) or None
    if smallest and largest and smallest > largest:
        config.wrong("MinimumRingSize", f"{smallest} is over MaximumRingSize, {largest}")
    config.close()
    return smallest, largest


def _hash_policy(item: Fields) -> HashPolicy:
    chosen = item.choice("Field", ("", *_FIELDS), "")
    name = visible(item, "FieldValue")
    source_ip = item.boolean("SourceIP")
    terminal = item.boolean("Terminal")
    ttl, path = _cookie(item, chosen)
    _check(item, chosen, name, source_ip=source_ip)
    item.close()
    if not chosen:
        return HashPolicy(HashKind.SOURCE_IP, terminal=terminal)
    if chosen == "header":
        name = name.lower()
    return HashPolicy(_FIELDS[chosen], name, ttl, path, terminal)


def _check(item: Fields, chosen: str, name: str, *, source_ip: bool) -> None:
    if source_ip and (chosen or name):
        item.wrong("SourceIP", "is not possible beside Field and FieldValue")
    elif not source_ip and not chosen and not item.text("Field"):
        item.wrong("", "must have Field and FieldValue, or SourceIP")
    if chosen and not name:
        item.wrong("FieldValue", f"is required: the name of the {chosen}")
    if chosen == "header" and name and not HEADER_NAME.fullmatch(name):
        item.wrong("FieldValue", f"{name!r} is no name of a header")


def _cookie(item: Fields, chosen: str) -> tuple[float | None, str]:
    config = item.child("CookieConfig")
    if config is None:
        return None, ""
    if chosen != "cookie":
        item.wrong("CookieConfig", "is possible with the field cookie only")
    session = config.boolean("Session")
    ttl = duration(config, "TTL")
    if session and ttl:
        config.wrong("TTL", "is not possible for a session cookie")
    path = visible(config, "Path")
    config.close()
    return (0.0 if session else ttl or None), path
