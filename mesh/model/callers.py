"""How the source of an intention names its callers: ``web``, ``*``, ``web@partner``, ``*@partner``.

A bare name, and ``*``, mean callers of the mesh's own trust domain and nobody else.  Callers of a
peer (a zone of another organisation) are named with it after an ``@``, which can stand in no
service's name.
"""

from __future__ import annotations

from typing import Final

from mesh.model import names
from mesh.model.names import WILDCARD

AT: Final = "@"
"""Stands between a service and its peer."""


def joined(service: str, peer: str) -> str:
    """Return how ``service`` of ``peer`` is named; without a peer it is the service alone."""
    return f"{service}{AT}{peer}" if peer else service


def split(source: str) -> tuple[str, str]:
    """Return the service (or ``*``) and the peer, which is empty for callers of our own."""
    service, _, peer = source.partition(AT)
    return service, peer


def peer_of(source: str) -> str:
    """Return the peer whose callers ``source`` names; empty for callers of our own."""
    return source.partition(AT)[2]


def everybody_like(source: str) -> str:
    """Return the wildcard that covers ``source``: those of its peer, or of our own."""
    return joined(WILDCARD, peer_of(source))


def is_wildcard(source: str) -> bool:
    """Whether ``source`` names everybody of our own, or of a peer."""
    return split(source)[0] == WILDCARD


def checked(value: str) -> str:
    """Return ``value`` if it can be the source of an intention.

    Raises:
        InvalidNameError: the service, or the peer, cannot be called so.

    """
    service, at, peer = value.partition(AT)
    if service != WILDCARD:
        names.service_name(service)
    if at:
        names.zone_name(peer)
    return value
