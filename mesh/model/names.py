"""Names of services, zones and trust domains, and what may stand in them.

A name ends up in a SPIFFE path, in an SNI, in a Consul URL and in a regular expression,
so the accepted alphabet is the one that is safe in the first three.  (A dot is not: it is
the SNI's separator.)
"""

from __future__ import annotations

import re
from typing import Final

WILDCARD = "*"
"""Any source or any destination of an intention."""

SIDECAR_SUFFIX = "-sidecar-proxy"
"""How the name of a sidecar's service ends, and the id of its registration."""

ZONE_GATEWAY = "mesh-gateway"
"""The service that a zone's gateways are instances of, as in Consul."""

ZONE_EGRESS = "mesh-egress"
"""The service that a zone's egress gateways are instances of."""

OUTSIDE = "outside:"
"""Stands before a service whose instances are meant as they are registered, without a sidecar: an
external one's.  No service can be called so."""

WAN_META = "mesh-wan"
"""Key of a gateway's meta: ``address:port`` where other zones dial it, if that differs."""

_SERVICE = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9_-]{0,62}[A-Za-z0-9])?")
_ZONE = re.compile(r"[a-z0-9](?:[a-z0-9_-]{0,62}[a-z0-9])?")
_TRUST_DOMAIN = re.compile(r"[a-z0-9](?:[a-z0-9._-]{0,253}[a-z0-9])?")
_LABEL: Final = r"[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9])?"
_DNS_NAME: Final = re.compile(rf"(?=.{{1,253}}\Z){_LABEL}(?:\.{_LABEL})*")
_NUMERIC: Final = re.compile(r"[0-9.]+")


class InvalidNameError(ValueError):
    """A name cannot be used; the message says which and what a valid one looks like."""


def service_name(value: str) -> str:
    """Return ``value`` if it can name a service.

    Raises:
        InvalidNameError: it is not 1 to 64 letters, digits, ``-`` or ``_``.

    """
    if not _SERVICE.fullmatch(value):
        msg = (
            f"{value!r} cannot name a service: use 1 to 64 letters, digits, '-' or '_', "
            "starting and ending with a letter or digit"
        )
        raise InvalidNameError(msg)
    return value


def zone_name(value: str) -> str:
    """Return ``value`` if it can name a zone (a Consul datacenter).

    Raises:
        InvalidNameError: it is not 1 to 64 lower-case letters, digits, ``-`` or ``_``.

    """
    if not _ZONE.fullmatch(value):
        msg = (
            f"{value!r} cannot name a zone: use 1 to 64 lower-case letters, digits, '-' or '_', "
            "starting and ending with a letter or digit"
        )
        raise InvalidNameError(msg)
    return value


def trust_domain(value: str) -> str:
    """Return ``value`` if it is a SPIFFE trust domain (SPIFFE-ID, section 2.1).

    Raises:
        InvalidNameError: it has characters outside ``a-z0-9._-`` or is too long.

    """
    if not _TRUST_DOMAIN.fullmatch(value):
        msg = (
            f"{value!r} is not a SPIFFE trust domain: use lower-case letters, digits, '.', '-', '_'"
        )
        raise InvalidNameError(msg)
    return value


def sni(service: str, zone: str, domain: str, *, subset: str = "") -> str:
    """Return the server name under which ``service`` of ``zone`` is dialled.

    The form is Consul's own, ``[<subset>.]<service>.default.<zone>.internal.<trust-domain>``,
    so that native Consul proxies interoperate.
    """
    prefix = f"{subset}." if subset else ""
    return f"{prefix}{service}.default.{zone}.internal.{domain}"


def is_dns_name(value: str) -> bool:
    """Say whether ``value`` can be looked up; what looks like an IPv4 address cannot."""
    return bool(_DNS_NAME.fullmatch(value)) and not _NUMERIC.fullmatch(value)
