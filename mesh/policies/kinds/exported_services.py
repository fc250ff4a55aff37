"""MeshExportedServices: which services a zone lets other zones and peers call.

A peer is told of nothing, and the gateway lets nothing in for it, unless it is named here.  Zones
of the own federation are told of everything, until a service is given a list of zones: then it is
for those.  All documents are taken together.  Source: Consul's ``exported-services``.

It says who may know, and reach the door.  Who may come in intentions say.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Final, Self

from pydantic import AfterValidator, Field, model_validator

from mesh.model.names import WILDCARD, service_name, zone_name
from mesh.policies.document import Document
from mesh.policies.kind import Kind, Violations
from mesh.policies.shape import EVERY_PROXY, ProxyRef, Strict
from mesh.policies.spec import Spec


def _service(value: str) -> str:
    return value if value == WILDCARD else service_name(value)


def _zone(value: str) -> str:
    return value if value == WILDCARD else zone_name(value)


def _peer(value: str) -> str:
    if value == WILDCARD:
        raise ValueError("'*' is no peer: name each, for one that comes later is a stranger")
    return _zone(value)


def _nobody(_: ProxyRef) -> ProxyRef:
    raise ValueError("is not possible: it is the zone that exports, not one of its proxies")


class Consumer(Strict):
    """Whom a service is exported to: exactly one of the two."""

    zone: Annotated[str, AfterValidator(_zone)] = ""
    """A zone of the own federation; `*` is each of them."""
    peer: Annotated[str, AfterValidator(_peer)] = ""
    """A peer, as `mesh zone peer list` names it."""

    @model_validator(mode="after")
    def _one(self) -> Self:
        if bool(self.zone) == bool(self.peer):
            raise ValueError("give exactly one of zone and peer")
        return self


class ExportedService(Strict):
    """One service, and whom it is exported to."""

    name: Annotated[str, AfterValidator(_service)]
    """The service; `*` is every one of the zone."""
    consumers: tuple[Consumer, ...] = Field(min_length=1)
    """Whom it is exported to."""


class ExportedServicesSpec(Spec):
    """The ``spec`` of MeshExportedServices."""

    target_ref: Annotated[ProxyRef, AfterValidator(_nobody)] = EVERY_PROXY
    """Not possible: it is the zone that exports."""
    services: tuple[ExportedService, ...] = Field(min_length=1)
    """The services, each once."""


def exported_services(documents: Iterable[Document]) -> tuple[ExportedService, ...]:
    """Return what all MeshExportedServices of ``documents`` say."""
    return tuple(
        each
        for document in documents
        if isinstance(document.spec, ExportedServicesSpec)
        for each in document.spec.services
    )


def _check(spec: ExportedServicesSpec) -> Violations:
    first: dict[str, int] = {}
    for index, service in enumerate(spec.services):
        earlier = first.setdefault(service.name, index)
        if earlier != index:
            yield f"services[{index}].name", f"{service.name!r} is services[{earlier}] already"
        for place, consumer in enumerate(service.consumers):
            if consumer in service.consumers[:place]:
                yield f"services[{index}].consumers[{place}]", "is there twice"


KIND: Final = Kind(
    name="MeshExportedServices",
    summary="Which services peers, and other zones, may know of and reach.",
    spec=ExportedServicesSpec,
    check=_check,
    example="""\
type: MeshExportedServices
name: for-others
spec:
  services:
    - name: api
      consumers:
        - peer: partner
        - zone: "*"
    - name: billing
      consumers:
        - zone: west
""",
)
