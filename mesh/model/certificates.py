"""Certificates for clients of an edge gateway: where its agent gets them.

The zone says only where; the certificate and its key go from Vault to the gateway's host and no
further.  A source has a name, under which Envoy asks the agent for it, so that the zone's
configuration tells the agent what to fetch and nothing else need.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import Self
from urllib.parse import parse_qsl, quote, unquote, urlencode, urlsplit

_SCHEME = "vault"


class Keep(enum.StrEnum):
    """How a certificate is kept in Vault."""

    KV = "kv"
    """A secret of the key/value store (version 2): ``certificate`` and ``private_key``, PEM."""
    PKI = "pki"
    """A role that signs: the agent makes the key."""


class InvalidSourceError(ValueError):
    """A text names no source; the message says which."""


@dataclass(frozen=True, slots=True)
class CertificateSource:
    """Where a certificate is: ``path`` (a secret, or a role) below ``mount``.

    ``names`` and ``ttl`` (seconds; 0 is the role's) are what is asked of a role.
    """

    keep: Keep
    mount: str
    path: str
    names: tuple[str, ...] = ()
    ttl: int = 0

    @property
    def name(self) -> str:
        """The name by which Envoy asks for it: ``vault://secret/shop/tls?keep=kv``."""
        asked = [("keep", self.keep.value), *(("name", one) for one in self.names)]
        if self.ttl:
            asked.append(("ttl", str(self.ttl)))
        return f"{_SCHEME}://{quote(self.mount, safe='')}/{quote(self.path)}?{urlencode(asked)}"

    @property
    def place(self) -> str:
        """Where it is, for people: ``Vault's secret/shop/tls``."""
        return f"Vault's {self.mount}/{self.path}"

    @classmethod
    def parse(cls, name: str) -> Self:
        """Read what :attr:`name` wrote.

        Raises:
            InvalidSourceError: it is no such name.

        """
        parts = urlsplit(name)
        asked = parse_qsl(parts.query)
        said = dict(asked)
        mount, path = unquote(parts.netloc), unquote(parts.path.removeprefix("/"))
        try:
            keep, ttl = Keep(said["keep"]), int(said.get("ttl", "0"))
        except (KeyError, ValueError) as error:
            raise InvalidSourceError(f"{name!r} names no certificate in Vault") from error
        names = tuple(value for key, value in asked if key == "name")
        found = cls(keep, mount, path, names, ttl)
        if parts.scheme != _SCHEME or not mount or not path or found.name != name:
            raise InvalidSourceError(f"{name!r} names no certificate in Vault")
        return found
