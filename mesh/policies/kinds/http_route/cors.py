"""Which pages of other origins may call from a browser (the Fetch standard's CORS)."""

from __future__ import annotations

import re
from typing import Final, Literal, Self

from pydantic import Field, model_validator

from mesh.model.traffic import Cors
from mesh.policies.shape import Strict
from mesh.policies.units import ChangeableHeader, Duration, Method

_ORIGIN: Final = re.compile(r"\*|[a-z][a-z0-9+.-]*://[A-Za-z0-9.*-]+(?::(?:\d+|\*))?")


class CorsModel(Strict):
    """Which pages of other origins may call from a browser."""

    allow_origins: tuple[str, ...] = Field(min_length=1)
    """Such as `https://shop.example`; `*` stands for any name or port."""
    allow_methods: tuple[Method | Literal["*"], ...] = ()
    """Beside GET, HEAD and POST; `*` for all."""
    allow_headers: tuple[ChangeableHeader, ...] = ()
    """Headers that requests may carry."""
    expose_headers: tuple[ChangeableHeader, ...] = ()
    """Headers of answers that pages may read."""
    allow_credentials: bool = False
    """Whether requests may carry cookies and the like."""
    max_age: Duration | None = None
    """How long a browser may remember this."""

    @model_validator(mode="after")
    def _whole(self) -> Self:
        for origin in self.allow_origins:
            if not _ORIGIN.fullmatch(origin):
                raise ValueError(f"{origin!r} is no origin: write https://shop.example, or *")
        if self.allow_credentials and "*" in self.allow_origins:
            raise ValueError("allowCredentials for every origin lets any page act for its user")
        return self

    def form(self) -> Cors:
        """Return the intermediate form."""
        wild = [origin for origin in self.allow_origins if "*" in origin]
        return Cors(
            origins=tuple(origin for origin in self.allow_origins if "*" not in origin),
            origin_regexes=tuple(_regex(origin) for origin in wild),
            methods=self.allow_methods,
            headers=self.allow_headers,
            expose=self.expose_headers,
            credentials=self.allow_credentials,
            max_age=self.max_age,
        )


def _regex(origin: str) -> str:
    return ".*" if origin == "*" else re.escape(origin).replace(r"\*", "[^/]*")
