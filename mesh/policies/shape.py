"""The parts of which every policy is written: whom it concerns, and what is called.  Strict."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator
from pydantic.alias_generators import to_camel

from mesh.model.names import InvalidNameError, service_name


class Strict(BaseModel):
    """A part of a document: camelCase as it is written, nothing unknown, never changed."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        alias_generator=to_camel,
        # Text does not become a number, nor 1 true; durations and percentages say what they take.
        strict=True,
        # The docstring below a field is its description: in the reference, and in the schema.
        use_attribute_docstrings=True,
    )


class ProxyRef(Strict):
    """Which proxies a policy concerns: all of the ``Mesh``, or those ``Dataplane``s.

    A dataplane is chosen by the labels that its proxy carries (``service`` and ``zone`` among
    them), or by its ``name``, the proxy's instance id.
    """

    kind: Literal["Mesh", "Dataplane"] = "Mesh"
    """All proxies, or those chosen by name or labels."""
    name: str = ""
    """The instance id of one proxy."""
    labels: dict[str, str] = Field(default_factory=dict)
    """Labels that a proxy must all have: `service`, `zone`, or its own."""

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if self.kind == "Mesh" and (self.name or self.labels):
            raise ValueError("kind Mesh takes neither name nor labels; use kind Dataplane")
        if self.kind == "Dataplane" and bool(self.name) == bool(self.labels):
            raise ValueError("kind Dataplane takes either a name or labels")
        return self

    @property
    def specificity(self) -> tuple[int, int]:
        """How particular the choice is: Mesh, then labels (more are more), then a name."""
        return (2, 0) if self.name else (1, len(self.labels)) if self.labels else (0, 0)

    def selects(self, name: str, labels: Mapping[str, str]) -> bool:
        """Whether the proxy ``name`` with ``labels`` is meant."""
        if self.name:
            return self.name == name
        return all(labels.get(key) == value for key, value in self.labels.items())


EVERY_PROXY: Final = ProxyRef()


class DestinationRef(Strict):
    """What is called: everything, one service, or the requests of one MeshHTTPRoute."""

    kind: Literal["Mesh", "MeshService", "MeshExternalService", "MeshHTTPRoute"]
    """Everything, a service of the mesh, one outside, or the requests of a route."""
    name: str = ""
    """Its name; not with Mesh."""

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if self.kind == "Mesh":
            if self.name:
                raise ValueError("kind Mesh takes no name")
        elif not self.name:
            raise ValueError(f"kind {self.kind} needs a name")
        elif self.kind != "MeshHTTPRoute":
            _checked_service(self.name)
        return self

    @property
    def specificity(self) -> int:
        """Mesh, then a service, then a route."""
        return {"Mesh": 0, "MeshHTTPRoute": 2}.get(self.kind, 1)

    def covers(self, service: str, route: str = "") -> bool:
        """Whether calls to ``service`` (by the policy route named ``route``) are meant."""
        if self.kind == "Mesh":
            return True
        if self.kind == "MeshHTTPRoute":
            return bool(route) and self.name == route
        return self.name == service


def given(**fields: Any) -> dict[str, Any]:
    """Return those of ``fields`` that have a value: None is what nobody said."""
    return {name: value for name, value in fields.items() if value is not None}


def _checked_service(name: str) -> None:
    try:
        service_name(name)
    except InvalidNameError as error:
        raise ValueError(str(error)) from error
