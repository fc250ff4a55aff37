"""MeshTCPRoute: where the connections to a service go, by weight.

Source: Kuma's MeshTCPRoute.
"""

from __future__ import annotations

from typing import Final

from pydantic import Field

from mesh.model.traffic import Share
from mesh.policies.backends import BackendRef, CalledRef
from mesh.policies.backends import shares as shared
from mesh.policies.document import Document
from mesh.policies.kind import Kind, Violations
from mesh.policies.shape import Strict
from mesh.policies.spec import Spec


class Treatment(Strict):
    """What is done with the connections."""

    backend_refs: tuple[BackendRef, ...] | None = None
    """Who gets the connections; absent, it is the service that was called."""


class TcpRule(Strict):
    """Nothing tells one connection from another: a rule is for all of them."""

    default: Treatment
    """What is done with them."""


class TcpTo(Strict):
    """The rule for one service that is called."""

    target_ref: CalledRef
    """Who is called."""
    rules: tuple[TcpRule, ...] = Field(min_length=1, max_length=1)
    """Exactly one."""


class TcpRouteSpec(Spec):
    """The ``spec`` of MeshTCPRoute."""

    to: tuple[TcpTo, ...] = Field(min_length=1)
    """The services whose connections are routed."""


def shares(document: Document, service: str) -> tuple[Share, ...] | None:
    """Return who gets the connections to ``service``; None if ``document`` is about others.

    An empty answer means that nobody does.
    """
    spec = document.spec
    if not isinstance(spec, TcpRouteSpec):
        raise TypeError(f"{document.label} is no MeshTCPRoute")
    for to in spec.to:
        if to.target_ref.covers(service):
            return shared(to.rules[0].default.backend_refs, service)
    return None


def _check(spec: TcpRouteSpec) -> Violations:
    first: dict[str, str] = {}
    for index, to in enumerate(spec.to):
        place = f"to[{index}]"
        same = first.setdefault(to.target_ref.name, place)
        if same != place:
            yield f"{place}.targetRef", f"the same service as {same}: only one of them can hold"


KIND: Final = Kind(
    name="MeshTCPRoute",
    summary="Where the connections of a service that is no HTTP go, by weight.",
    spec=TcpRouteSpec,
    check=_check,
    example="""\
type: MeshTCPRoute
name: api-canary-tcp
spec:
  targetRef:
    kind: Dataplane
    labels: {service: web}
  to:
    - targetRef: {kind: MeshService, name: api}
      rules:
        - default:
            backendRefs:
              - {kind: MeshService, name: api, weight: 100}
              - {kind: MeshService, name: api-canary, weight: 0}
""",
)
