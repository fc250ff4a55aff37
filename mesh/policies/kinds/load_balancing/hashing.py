"""What of a call is hashed, so that calls with equal hashes go to the same instance.

Source: Kuma's MeshLoadBalancingStrategy ``hashPolicies``; Envoy's RouteAction ``hash_policy``.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from mesh.model.destinations import HashKind, HashPolicy
from mesh.policies.shape import Strict
from mesh.policies.units import ChangeableHeader, Duration


class HashedHeader(Strict):
    """Which header is hashed."""

    name: ChangeableHeader
    """Its name."""


class HashedCookie(Strict):
    """Which cookie is hashed."""

    name: str = Field(pattern=r"^[A-Za-z0-9!#$%&'*+.^_`|~-]+$")
    """Its name."""
    ttl: Duration | None = None
    """If given, the proxy sets the cookie where it is absent, for so long; 0 is a session."""
    path: str = Field(default="", pattern=r"^(/[^;\s]*)?$")
    """The path of a cookie that the proxy sets."""


class HashedQuery(Strict):
    """Which query parameter is hashed."""

    name: str = Field(min_length=1)
    """Its name."""


class Hashed(Strict):
    """What every hash policy has."""

    terminal: bool = False
    """Whether the policies after this one are left out if this one found something."""


class HeaderHash(Hashed):
    """Hashes a header."""

    type: Literal["Header"]
    """What is hashed."""
    header: HashedHeader
    """Which one."""

    def form(self) -> HashPolicy:
        """Return the intermediate form."""
        return HashPolicy(HashKind.HEADER, self.header.name.lower(), terminal=self.terminal)


class CookieHash(Hashed):
    """Hashes a cookie."""

    type: Literal["Cookie"]
    """What is hashed."""
    cookie: HashedCookie
    """Which one."""

    def form(self) -> HashPolicy:
        """Return the intermediate form."""
        said = self.cookie
        return HashPolicy(HashKind.COOKIE, said.name, said.ttl, said.path, terminal=self.terminal)


class QueryHash(Hashed):
    """Hashes a query parameter."""

    type: Literal["Query"]
    """What is hashed."""
    query: HashedQuery
    """Which one."""

    def form(self) -> HashPolicy:
        """Return the intermediate form."""
        return HashPolicy(HashKind.QUERY, self.query.name, terminal=self.terminal)


class SourceHash(Hashed):
    """Hashes the address of whoever connects to the proxy."""

    type: Literal["SourceIP"]
    """What is hashed."""

    def form(self) -> HashPolicy:
        """Return the intermediate form."""
        return HashPolicy(HashKind.SOURCE_IP, terminal=self.terminal)


HashModel = Annotated[HeaderHash | CookieHash | QueryHash | SourceHash, Field(discriminator="type")]
