"""What the registry keeps, as immutable values.

A record is stored and compared as it stands; how Consul writes it is in ``wire``.  Every
record carries the index of the write that made it and of the one that last changed it.
"""

from __future__ import annotations

from typing import Any

import msgspec

SERF_HEALTH = "serfHealth"
"""The check that says whether a node's agent is alive; the registry's own node has it."""


class Record(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The indexes every record has."""

    create_index: int = 0
    modify_index: int = 0


class Node(Record, frozen=True, kw_only=True, omit_defaults=True):
    """A host, or what stands for one."""

    name: str
    address: str
    id: str = ""
    tagged_addresses: dict[str, str] | None = None
    meta: dict[str, str] | None = None

    @property
    def key(self) -> tuple[str, ...]:
        """Where the record stands in its table."""
        return (self.name,)


class Service(Record, frozen=True, kw_only=True, omit_defaults=True):
    """One instance of a service on a node.  ``proxy`` and ``connect`` are kept as given."""

    node: str
    id: str
    name: str
    kind: str = ""
    tags: list[str] | None = None
    address: str = ""
    tagged_addresses: dict[str, Any] | None = None
    meta: dict[str, str] | None = None
    port: int = 0
    weights: dict[str, int] = msgspec.field(default_factory=lambda: {"Passing": 1, "Warning": 1})
    enable_tag_override: bool = False
    proxy: dict[str, Any] = msgspec.field(default_factory=lambda: {"MeshGateway": {}, "Expose": {}})
    connect: dict[str, Any] = {}

    @property
    def key(self) -> tuple[str, ...]:
        """Where the record stands in its table."""
        return (self.node, self.id)

    @property
    def connects_to(self) -> str:
        """The service that mesh traffic reaches through this instance, or nothing."""
        if self.kind == "connect-proxy":
            return str(self.proxy.get("DestinationServiceName", ""))
        return self.name if self.connect.get("Native") else ""


class Check(Record, frozen=True, kw_only=True, omit_defaults=True):
    """The state of one health check, of a node or of one of its services."""

    node: str
    id: str
    name: str
    status: str = "critical"
    notes: str = ""
    output: str = ""
    service_id: str = ""
    service_name: str = ""
    service_tags: list[str] | None = None
    type: str = ""
    definition: dict[str, Any] = {}

    @property
    def key(self) -> tuple[str, ...]:
        """Where the record stands in its table."""
        return (self.node, self.id)


class Pair(Record, frozen=True, kw_only=True, omit_defaults=True):
    """A key and its value."""

    name: str
    value: bytes = b""
    flags: int = 0
    session: str = ""
    lock_index: int = 0

    @property
    def key(self) -> tuple[str, ...]:
        """Where the record stands in its table."""
        return (self.name,)


class Session(Record, frozen=True, kw_only=True, omit_defaults=True):
    """A holder of locks, alive as long as its checks, its node and its renewals are."""

    id: str
    node: str
    name: str = ""
    lock_delay: float = 15.0
    behavior: str = "release"
    ttl: str = ""
    node_checks: list[str] | None = None
    service_checks: list[dict[str, str]] | None = None

    @property
    def key(self) -> tuple[str, ...]:
        """Where the record stands in its table."""
        return (self.id,)


class Entry(Record, frozen=True, kw_only=True, omit_defaults=True):
    """A configuration entry; ``body`` is its JSON without the indexes."""

    kind: str
    name: str
    body: dict[str, Any]

    @property
    def key(self) -> tuple[str, ...]:
        """Where the record stands in its table."""
        return (self.kind, self.name)


class CheckPlan(Record, frozen=True, kw_only=True, omit_defaults=True):
    """How a check of the registry's own agent is carried out.  Times are seconds."""

    id: str
    kind: str
    service_id: str = ""
    target: str = ""
    interval: float = 0.0
    timeout: float = 10.0
    ttl: float = 0.0
    method: str = "GET"
    header: dict[str, list[str]] = {}
    body: str = ""
    skip_tls_verify: bool = False
    successes_before_passing: int = 0
    failures_before_critical: int = 0
    deregister_after: float = 0.0

    @property
    def key(self) -> tuple[str, ...]:
        """Where the record stands in its table."""
        return (self.id,)
