"""What a route sends calls to: services by weight.  Shared by the kinds of route."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, Self

from pydantic import Field, model_validator

from mesh.model.destinations import Target
from mesh.model.traffic import WHOLE, Share
from mesh.policies.shape import DestinationRef, Strict
from mesh.policies.units import ServiceName


class CalledRef(DestinationRef):
    """The service whose callers a route serves."""

    kind: Literal["MeshService", "MeshExternalService"]
    """A service of the mesh, or one outside that a MeshExternalService describes."""


class Backend(Strict):
    """A service, or a subset of it."""

    kind: Literal["MeshService", "MeshExternalService"]
    """A service of the mesh, or one outside that a MeshExternalService describes."""
    name: ServiceName
    """The name of the service."""
    subset: ServiceName | None = None
    """One of the subsets that the service's `service-resolver` entry defines."""

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if self.subset and self.kind == "MeshExternalService":
            raise ValueError("an external service has no subsets")
        return self

    @property
    def target(self) -> Target:
        """The intermediate form."""
        return Target(self.name, self.subset or "")


class BackendRef(Backend):
    """A service that gets a part of the calls."""

    weight: int = Field(default=1, ge=0, le=1_000_000)
    """Its part of the sum of all weights; with 0 it gets nothing but stays ready."""


def shares(refs: Sequence[BackendRef] | None, service: str) -> tuple[Share, ...]:
    """Return what each of ``refs`` gets of the calls to ``service``.

    Without ``refs`` (None) all go to ``service`` itself.  If there is nobody to get anything,
    there are no shares.
    """
    if refs is None:
        return (Share(Target(service)),)
    weights = normalised([ref.weight for ref in refs])
    return tuple(
        Share(ref.target, weight) for ref, weight in zip(refs, weights, strict=bool(weights))
    )


def normalised(weights: Sequence[int]) -> tuple[int, ...]:
    """Scale ``weights`` so that they sum to ``WHOLE``; none if they sum to 0.

    What division leaves over goes to the largest remainders (Hamilton's method), so that no
    weight is off by a whole hundredth of a percent.
    """
    total = sum(weights)
    if not total:
        return ()
    whole = [weight * WHOLE // total for weight in weights]
    by_remainder = sorted(range(len(weights)), key=lambda i: -(weights[i] * WHOLE % total))
    for index in by_remainder[: WHOLE - sum(whole)]:
        whole[index] += 1
    return tuple(whole)
