"""What a dry run reads and answers."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field

from mesh.controlplane.api.model import Wire

_MOST = 1_000
"""Documents in one request."""


class PolicyName(Wire):
    """Which policy."""

    type: Annotated[str, Field(min_length=1, max_length=128)]
    name: Annotated[str, Field(min_length=1, max_length=128)]


class DryRunRequest(Wire):
    """Policies that might be applied, as they would be written, and others that might go."""

    apply: list[dict[str, Any]] = Field(default_factory=list, max_length=_MOST)
    delete: list[PolicyName] = Field(default_factory=list, max_length=_MOST)


class DocumentViolation(Wire):
    """One thing wrong with one document."""

    document: str
    path: str
    message: str


class TypeChange(Wire):
    """What becomes of a proxy's resources of one type, by name."""

    type: str
    added: list[str] = Field(default_factory=list)
    changed: list[str] = Field(default_factory=list)
    removed: list[str] = Field(default_factory=list)


class ProxyChange(Wire):
    """A connected proxy whose configuration would change."""

    id: str
    service: str
    resources: list[TypeChange]


class CallReach(Wire):
    """Where calls may end.

    ``targets`` may be called and ``refused`` may not; ``answers`` are given by the caller's own
    proxy; ``otherwise`` has the percentages where no particular route is taken.
    """

    targets: list[str]
    refused: list[str] = Field(default_factory=list)
    answers: list[str] = Field(default_factory=list)
    otherwise: dict[str, float] = Field(default_factory=dict)
    fault: str = ""


class CallChanged(Wire):
    """Calls of a service to another that would travel otherwise.

    ``change`` has one or more of ``refused``, ``allowed``, ``unroutable``, ``routable``,
    ``targets``, ``answers`` and ``shares``.
    """

    caller: str
    service: str
    proxies: list[str]
    change: list[str]
    before: CallReach
    after: CallReach


class ResourceName(Wire):
    """A resource of a proxy."""

    type: str
    name: str


class Rejection(Wire):
    """Resources that could not be sent, or that Envoy would refuse; ``proxy`` is one concerned."""

    resources: list[ResourceName]
    proxy: str = ""
    reason: str


class EnvoyCheck(Wire):
    """How many resources an Envoy was asked about; ``note`` says why not about all."""

    checked: int
    unchecked: int
    note: str = ""


class DryRunAnswer(Wire):
    """What would change.  With violations nothing else was looked at.

    ``connected`` is the number of proxies connected to this instance of the zone, which are
    all that it can tell of.
    """

    violations: list[DocumentViolation] = Field(default_factory=list)
    connected: int
    proxies: list[ProxyChange] = Field(default_factory=list)
    calls: list[CallChanged] = Field(default_factory=list)
    rejected: list[Rejection] = Field(default_factory=list)
    envoy: EnvoyCheck = EnvoyCheck(checked=0, unchecked=0)
