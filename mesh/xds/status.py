"""How proxies stand, as values for an operator."""

from __future__ import annotations

from dataclasses import dataclass

from mesh.model.identity import WorkloadId
from mesh.model.proxies import ProxyNeed


@dataclass(frozen=True, slots=True)
class Nack:
    """Resources that a client refused, why, and when (the caller's clock)."""

    names: tuple[str, ...]
    reason: str
    at: float


@dataclass(frozen=True, slots=True)
class TypeStatus:
    """How one type stands on one stream.

    ``sent`` and ``acked`` count responses.  ``nack`` is what the client refuses now, at its
    latest reason; ``nacks`` counts every refusal.
    """

    type_url: str
    wildcard: bool
    subscribed: int
    sent: int
    acked: int
    waiting: bool
    nacks: int
    nack: Nack | None


@dataclass(frozen=True, slots=True)
class Connected:
    """One connected proxy, for whoever goes through all of them: who it is, and from where."""

    session: int
    node: str
    need: ProxyNeed
    address: str


@dataclass(frozen=True, slots=True)
class ProxyStatus:
    """One connected proxy, for an operator.

    ``connected_at`` and ``certificate_expires_at`` are Unix time; ``in_sync`` means that the
    proxy has acknowledged the newest of all that it subscribed to.
    """

    session: int
    node: str
    identity: WorkloadId
    need: ProxyNeed
    address: str
    connected_at: float
    certificate_expires_at: float
    bytes_sent: int
    types: tuple[TypeStatus, ...]
    in_sync: bool
