"""MeshTLS: whether a service still takes calls in plain text.

``Permissive`` is for the time in which callers move into the mesh.  A caller in plain text is
nobody in particular: intentions that name a source do not match it.  Source: Kuma's MeshTLS.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final, Literal

from mesh.model.inbound import InboundTraffic, TlsMode
from mesh.model.services import Protocol
from mesh.policies.kind import Closing, Kind, Violations
from mesh.policies.shape import Strict
from mesh.policies.spec import RulesSpec


class Tls(Strict):
    """The ``default`` of MeshTLS."""

    mode: Literal["Strict", "Permissive"]
    """``Strict`` demands a certificate of the mesh; ``Permissive`` takes plain text too."""


TlsSpec = RulesSpec[Tls]


def _on_inbound(conf: Tls, inbound: InboundTraffic, _: Protocol) -> InboundTraffic:
    return replace(inbound, mode=TlsMode(conf.mode.lower()))


def _strict(inbound: InboundTraffic, _: Protocol, label: str) -> InboundTraffic:
    origins = {**inbound.origins, "MeshTLS": label}
    return replace(inbound, mode=TlsMode.STRICT, origins=origins)


def _check(spec: TlsSpec) -> Violations:
    for index, rule in enumerate(spec.rules):
        if rule.matches:
            yield (
                f"rules[{index}].matches",
                "is not possible: the mode is chosen before a request can be seen",
            )
        if index:
            yield f"rules[{index}]", "would never hold: one rule is all there can be"


KIND: Final = Kind(
    name="MeshTLS",
    summary="Whether a service takes calls in plain text beside those of the mesh.",
    conf=Tls,
    spec=TlsSpec,
    on_inbound=_on_inbound,
    check=_check,
    closing=Closing(_strict, "the proxies that it selects take no plain text meanwhile"),
    example="""\
type: MeshTLS
name: api-migration
spec:
  targetRef:
    kind: Dataplane
    labels: {service: api}
  rules:
    - default:
        mode: Permissive
""",
)
