"""The local half of MeshRateLimit: limits that each proxy keeps for itself."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Final, Self

from pydantic import Field, PrivateAttr, model_validator

from mesh.model.inbound import LocalLimit, TokenBucket
from mesh.model.requests import NO_EDITS, HeaderEdits
from mesh.policies.shape import Strict
from mesh.policies.units import Count, Duration, HeaderValue, literal

_SHORTEST: Final = 0.05
"""Seconds.  Envoy fills a bucket at most 20 times a second."""

Interval = Annotated[Duration, Field(ge=_SHORTEST)]


class Rate(Strict):
    """So many in so much time."""

    num: Count
    """How many are admitted."""
    interval: Interval
    """In how much time; at least 50ms."""


class AddedHeaders(Strict):
    """Headers of the answer: ``set`` replaces, ``add`` appends."""

    set: tuple[HeaderValue, ...] = ()
    """Headers whose value is replaced."""
    add: tuple[HeaderValue, ...] = ()
    """Headers that are added to those of the same name."""

    def form(self) -> HeaderEdits:
        """Return the intermediate form."""
        return HeaderEdits(
            add=tuple((each.name, literal(each.value)) for each in self.add),
            set=tuple((each.name, literal(each.value)) for each in self.set),
        )


class OnRateLimit(Strict):
    """The answer to a request beyond the limit."""

    status: Annotated[int, Field(ge=400, le=599)] | None = None
    """The HTTP status; 429 where nothing is said."""
    headers: AddedHeaders | None = None
    """Headers of the answer."""


class LocalHttp(Strict):
    """A limit of requests."""

    request_rate: Rate
    """How many requests are admitted."""
    burst: Count | None = None
    """How many requests are admitted at once after a pause; ``requestRate.num`` where unsaid."""
    per_caller: bool | None = None
    """Whether each calling service has a limit of its own."""
    on_rate_limit: OnRateLimit | None = None
    """The answer to a request beyond the limit."""
    _rule: str = PrivateAttr(default="")

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if self.burst is not None and self.burst < self.request_rate.num:
            raise ValueError(
                f"burst {self.burst} is below requestRate.num {self.request_rate.num}: "
                "the rate could never be reached"
            )
        return self

    def of(self, rule: str) -> Self:
        """Return the limit as that of ``rule``."""
        result = self.model_copy()
        result._rule = rule  # noqa: SLF001 - a copy of itself
        return result

    def form(self) -> LocalLimit:
        """Return the intermediate form."""
        rate, answer = self.request_rate, self.on_rate_limit
        limit = LocalLimit(
            TokenBucket(rate.num, rate.interval, self.burst),
            per_caller=bool(self.per_caller),
            rule=self._rule,
        )
        if answer is None:
            return limit
        return replace(
            limit,
            status=limit.status if answer.status is None else answer.status,
            response_headers=NO_EDITS if answer.headers is None else answer.headers.form(),
        )


class LocalTcp(Strict):
    """A limit of new connections."""

    connection_rate: Rate
    """How many connections are accepted; others are closed at once."""


class Local(Strict):
    """Limits that each proxy keeps for itself."""

    http: LocalHttp | None = None
    """Of requests; without effect on a tcp service."""
    tcp: LocalTcp | None = None
    """Of connections; in a rule without matches only."""

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if self.http is None and self.tcp is None:
            raise ValueError("says nothing: give http, tcp or both")
        return self
