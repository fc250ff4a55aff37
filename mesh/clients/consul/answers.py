"""What Consul answers, decoded when somebody reads it and not before.

A blocking query often wakes for nothing: the body is the same as last time.  :class:`Answer`
keeps the raw body and its digest, so that a watcher compares digests first and an unchanged
body is never parsed.  The structs name only the fields that the mesh reads; Consul's others
are skipped by the decoder.  Go writes an empty list or map as ``null``, hence the optionals.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable
from functools import cached_property
from typing import Generic, TypeVar

import msgspec

from mesh.clients.consul.errors import Call, Malformed

T_co = TypeVar("T_co", covariant=True)


class Answer(Generic[T_co]):
    """One answer: Consul's index, and a value that is decoded when first read."""

    def __init__(
        self, call: Call, body: bytes, index: int, decode: Callable[[bytes], T_co]
    ) -> None:
        """Hold ``body`` until :attr:`value` or :attr:`digest` is asked for."""
        self.body = body
        self.index = index
        self._call = call
        self._decode = decode

    @cached_property
    def value(self) -> T_co:
        """The decoded value.

        Raises:
            Malformed: the body is not what Consul sends.

        """
        try:
            return self._decode(self.body)
        except ValueError as error:
            raise Malformed(self._call, str(error)) from error

    @cached_property
    def digest(self) -> bytes:
        """A hash of the body: equal digests, equal answers."""
        return hashlib.blake2b(self.body, digest_size=16).digest()


class Node(msgspec.Struct, frozen=True, rename="pascal"):
    """The node of a :class:`HealthEntry`."""

    node: str
    address: str = ""
    datacenter: str = ""
    meta: dict[str, str] | None = None


class Weights(msgspec.Struct, frozen=True, rename="pascal"):
    """Load-balancing weights of a service by its health."""

    passing: int = 1
    warning: int = 1


class ProxyInfo(msgspec.Struct, frozen=True, rename="pascal"):
    """What a ``connect-proxy`` registration says of the service that it stands for."""

    destination_service_name: str = ""
    destination_service_id: str = msgspec.field(default="", name="DestinationServiceID")
    local_service_address: str = ""
    local_service_port: int = 0


class AgentService(msgspec.Struct, frozen=True, rename="pascal"):
    """A registered service, as the agent and the health endpoints show it."""

    service: str
    id: str = msgspec.field(default="", name="ID")
    kind: str = ""
    address: str = ""
    port: int = 0
    tags: tuple[str, ...] | None = None
    meta: dict[str, str] | None = None
    weights: Weights | None = None
    proxy: ProxyInfo | None = None


class HealthCheck(msgspec.Struct, frozen=True, rename="pascal"):
    """One check of a node (``service_id`` empty) or of a service."""

    status: str
    node: str = ""
    check_id: str = msgspec.field(default="", name="CheckID")
    name: str = ""
    output: str = ""
    service_id: str = msgspec.field(default="", name="ServiceID")
    service_name: str = ""
    type: str = ""


class HealthEntry(msgspec.Struct, frozen=True, rename="pascal"):
    """One instance with its node and every check that bears on it."""

    node: Node
    service: AgentService
    checks: tuple[HealthCheck, ...] | None = None


class CatalogNode(msgspec.Struct, frozen=True, rename="pascal"):
    """A node and what is registered on it, by registration id."""

    node: Node
    services: dict[str, AgentService] | None = None


class Named(msgspec.Struct, frozen=True, rename="pascal"):
    """A policy or role, by name."""

    name: str = ""


class TokenInfo(msgspec.Struct, frozen=True, rename="pascal"):
    """What the token in use is allowed, as ``acl/token/self`` says."""

    accessor_id: str = msgspec.field(default="", name="AccessorID")
    description: str = ""
    local: bool = False
    policies: tuple[Named, ...] | None = None
    service_identities: tuple[dict[str, object], ...] | None = None


class KeyValue(msgspec.Struct, frozen=True, rename="pascal"):
    """A key of the KV store; ``data`` is its value."""

    key: str
    value: str | None = None
    flags: int = 0
    session: str = ""
    modify_index: int = 0
    create_index: int = 0
    lock_index: int = 0

    @property
    def data(self) -> bytes:
        """The value, decoded from its base64."""
        return base64.b64decode(self.value or "")
