"""Settings of the rate limit service, ``mesh ratelimit run``.

Limits are no settings: they come with each request, from the policy that the caller's proxy was
given.  What stands here is where the service listens and where it counts.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, model_validator

from mesh.config import loading
from mesh.config.types import (
    Count,
    Duration,
    ExistingFile,
    HostPort,
    Section,
    inconsistent,
)

PREFIX: Final = "MESH_RATELIMIT__"
"""How the variables of ``mesh ratelimit`` begin."""

_DATABASE: Final = "/0123456789"


def _redis_url(value: str) -> str:
    parts = urlsplit(value)
    if parts.scheme not in {"redis", "rediss"} or not parts.hostname:
        raise ValueError(
            f"{value!r} is not a Redis: write redis://host:port/database, or rediss:// for TLS"
        )
    if parts.username or parts.password:
        raise ValueError(
            "holds a name or a password: use username, and password_file for the password"
        )
    if parts.query or parts.fragment or parts.path.strip(_DATABASE):
        raise ValueError("has more than a host, a port and the number of a database")
    return value


RedisUrl = Annotated[str, AfterValidator(_redis_url)]
"""``redis://host:port/database``; ``rediss://`` is TLS."""


class ListenSettings(Section):
    """Where the service listens.  Port 0 takes a free one.

    On loopback: the service's own proxy stands in front of it.
    """

    grpc: HostPort = HostPort("127.0.0.1", 5681)
    health: HostPort = HostPort("127.0.0.1", 5682)

    @model_validator(mode="after")
    def _apart(self) -> Self:
        if self.grpc.port and self.grpc == self.health:
            raise inconsistent([("health", f"{self.health} is already taken by grpc")])
        return self


class MemorySettings(Section):
    """Counters in the process: one instance alone, and forgotten when it ends."""

    max_counters: Annotated[Count, Field(ge=1)] = 1_000_000


class RedisSettings(Section):
    """Counters in Redis, shared by all instances."""

    url: RedisUrl
    username: str = ""
    password_file: ExistingFile | None = None
    ca_file: ExistingFile | None = None
    timeout: Duration = timedelta(milliseconds=50)
    max_connections: Annotated[Count, Field(ge=1)] = 32
    key_prefix: Annotated[str, Field(min_length=1, pattern=r"^[\w.:-]+$")] = "mesh-ratelimit"

    @model_validator(mode="after")
    def _whole(self) -> Self:
        found = []
        if self.username and self.password_file is None:
            found.append(("password_file", "is required with a username"))
        if self.ca_file is not None and not self.url.startswith("rediss:"):
            found.append(("ca_file", "is for TLS: write the url with rediss://"))
        if found:
            raise inconsistent(found)
        return self


class LogSettings(Section):
    """What is logged, and how."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["json", "text"] = "json"


class RateLimitSettings(Section):
    """All settings of ``mesh ratelimit``.  Without ``redis``, counters are in memory."""

    listen: ListenSettings = ListenSettings()
    redis: RedisSettings | None = None
    memory: MemorySettings = MemorySettings()
    response_headers: Literal["ratelimit", "none"] = "ratelimit"
    grace: Duration = timedelta(seconds=5)
    log: LogSettings = LogSettings()

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if self.redis is not None and "memory" in self.model_fields_set:
            raise inconsistent([("memory", "is given together with redis: remove one of the two")])
        return self


def load(file: Path | None = None, overrides: Mapping[str, Any] | None = None) -> RateLimitSettings:
    """Read the service's settings.

    Raises:
        InvalidInputError: with every violation.

    """
    return loading.load(RateLimitSettings, prefix=PREFIX, file=file, overrides=overrides)
