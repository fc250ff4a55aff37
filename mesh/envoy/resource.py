"""One xDS resource: serialised once, named by its content, shared by every session.

``wire`` is the resource as it stands inside a ``DeltaDiscoveryResponse``: the tag and length
of the repeated field ``resources`` (2) followed by the serialised
``envoy.service.discovery.v3.Resource``.  Protobuf concatenates, so a response's body is the
join of its resources' ``wire`` after the serialised header fields
(https://protobuf.dev/programming-guides/encoding/#last-one-wins).
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from envoy.service.discovery.v3 import discovery_pb2
from google.protobuf import descriptor_pool, message_factory

TYPE_PREFIX: Final = "type.googleapis.com/"
CLUSTER: Final = f"{TYPE_PREFIX}envoy.config.cluster.v3.Cluster"
ENDPOINTS: Final = f"{TYPE_PREFIX}envoy.config.endpoint.v3.ClusterLoadAssignment"
LISTENER: Final = f"{TYPE_PREFIX}envoy.config.listener.v3.Listener"
ROUTE: Final = f"{TYPE_PREFIX}envoy.config.route.v3.RouteConfiguration"
EXTENSION: Final = f"{TYPE_PREFIX}envoy.config.core.v3.TypedExtensionConfig"

SECRET: Final = f"{TYPE_PREFIX}envoy.extensions.transport_sockets.tls.v3.Secret"

TYPE_URLS: Final = (SECRET, CLUSTER, ENDPOINTS, LISTENER, ROUTE, EXTENSION)
"""Every type the mesh serves, in make-before-break order (xDS protocol, "Eventual
consistency considerations"): what is referred to goes before what refers to it."""

_VERSION_BYTES: Final = 8


@dataclass(frozen=True, slots=True)
class Resource:
    """A named message of one type.  ``version`` is a hash of its content."""

    type_url: str
    name: str
    version: str
    wire: bytes


Snapshot = Mapping[str, tuple[Resource, ...]]
"""All that one proxy shall have: for each type URL its resources, sorted by name."""


def pack(name: str, message: Any) -> Resource:
    """Serialise ``message`` (a protobuf message) under ``name``."""
    body = message.SerializeToString(deterministic=True)
    version = hashlib.blake2b(body, digest_size=_VERSION_BYTES).hexdigest()
    type_url = sys.intern(TYPE_PREFIX + message.DESCRIPTOR.full_name)
    resource = discovery_pb2.Resource(name=name, version=version)
    resource.resource.type_url = type_url
    resource.resource.value = body
    wire = discovery_pb2.DeltaDiscoveryResponse(resources=[resource]).SerializeToString()
    return Resource(type_url, name, version, wire)


def unpack(resource: Resource) -> Any:
    """Return the protobuf message inside ``resource``."""
    response = discovery_pb2.DeltaDiscoveryResponse.FromString(resource.wire)
    packed = response.resources[0].resource
    message = _message_class(packed.type_url)()
    packed.Unpack(message)
    return message


def _message_class(type_url: str) -> Any:
    descriptor = descriptor_pool.Default().FindMessageTypeByName(type_url.removeprefix(TYPE_PREFIX))
    return message_factory.GetMessageClass(descriptor)
