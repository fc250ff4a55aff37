"""The shapes of ``spec``: what proxies do towards what they call, and towards their callers."""

from __future__ import annotations

from typing import Generic, Self, TypeVar

from pydantic import Field, model_validator

from mesh.policies.shape import EVERY_PROXY, DestinationRef, ProxyRef, Strict
from mesh.policies.units import InboundMatchModel

C = TypeVar("C", bound=Strict)


class To(Strict, Generic[C]):
    """How the selected proxies treat one destination."""

    target_ref: DestinationRef
    """What is called."""
    default: C
    """How it is treated."""


class Rule(Strict, Generic[C]):
    """How the selected proxies treat the calls that match: any of ``matches``, or all."""

    matches: tuple[InboundMatchModel, ...] = ()
    """Any of them; absent, it is every call."""
    default: C
    """How the calls are treated."""


class Spec(Strict):
    """What every ``spec`` has."""

    target_ref: ProxyRef = EVERY_PROXY
    """The proxies concerned; absent, it is all of them."""

    def about(self, name: str) -> tuple[str, ...]:  # noqa: ARG002 - for kinds that override it
        """Return the services that a document called ``name`` is about, beside those in ``to``."""
        return ()


class ToSpec(Spec, Generic[C]):
    """A policy of the caller's side."""

    to: tuple[To[C], ...] = Field(min_length=1)


class RulesSpec(Spec, Generic[C]):
    """A policy of the callee's side; the first rule that matches a call holds for it."""

    rules: tuple[Rule[C], ...] = Field(min_length=1)


class ToAndRulesSpec(Spec, Generic[C]):
    """A policy of either side, or both."""

    to: tuple[To[C], ...] = ()
    rules: tuple[Rule[C], ...] = ()

    @model_validator(mode="after")
    def _something(self) -> Self:
        if not self.to and not self.rules:
            raise ValueError("says nothing: give `to`, `rules` or both")
        return self
