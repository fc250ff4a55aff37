"""xDS resources as protobuf JSON, read strictly, with every extension that Envoy's API has.

A message inside an ``Any`` can be read only if its type is known to the process.  Types that a
person names are looked up in the API's packages, where the type's package is the module's.
Source: https://protobuf.dev/programming-guides/json/.
"""

from __future__ import annotations

import importlib
import pkgutil
import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

from envoy.config.cluster.v3 import cluster_pb2
from envoy.config.endpoint.v3 import endpoint_pb2
from envoy.config.listener.v3 import listener_pb2
from envoy.config.route.v3 import route_pb2
from envoy.extensions.transport_sockets.tls.v3 import secret_pb2
from google.protobuf import descriptor_pool, json_format

from mesh.envoy import resource

MESSAGES: Final[Mapping[str, Any]] = {
    resource.CLUSTER: cluster_pb2.Cluster,
    resource.LISTENER: listener_pb2.Listener,
    resource.ROUTE: route_pb2.RouteConfiguration,
    resource.ENDPOINTS: endpoint_pb2.ClusterLoadAssignment,
    resource.SECRET: secret_pb2.Secret,
}
"""The message of each type of resource that can be read."""

_PACKAGE: Final = re.compile(r"(?:envoy|xds|udpa)(?:\.[a-z0-9_]+)+|google\.protobuf")


class InvalidResourceError(ValueError):
    """A value is no such resource; the message says why."""


def read(type_url: str, value: object) -> Any:
    """Return the message of type ``type_url`` that ``value`` (protobuf JSON) describes.

    Raises:
        InvalidResourceError: a field is unknown, a value does not fit, or a type is unknown.

    """
    if not isinstance(value, dict):
        raise InvalidResourceError("the resource is no object")
    for named in _types(value):
        _learn(named)
    try:
        return json_format.ParseDict(value, MESSAGES[type_url]())
    # Beside its own error the library lets those of the conversions pass.
    except (json_format.Error, TypeError, ValueError, AttributeError) as error:
        raise InvalidResourceError(" ".join(str(error).split())) from error


def write(message: Any) -> dict[str, Any]:
    """Return ``message`` as protobuf JSON: lowerCamelCase, and only what is set."""
    written: dict[str, Any] = json_format.MessageToDict(message)
    return written


def name_of(message: Any) -> str:
    """Return the name of a resource."""
    name: str = (
        message.cluster_name
        if isinstance(message, endpoint_pb2.ClusterLoadAssignment)
        else message.name
    )
    return name


def _types(value: Any) -> Iterator[str]:
    if isinstance(value, Mapping):
        named = value.get("@type")
        if isinstance(named, str):
            yield named
        value = value.values()
    elif not isinstance(value, list):
        return
    for each in value:
        yield from _types(each)


def _learn(type_url: str) -> None:
    name = type_url.rpartition("/")[2]
    try:
        descriptor_pool.Default().FindMessageTypeByName(name)
    except KeyError:
        package = name.rpartition(".")[0]
    else:
        return
    if not _PACKAGE.fullmatch(package):
        raise InvalidResourceError(f"{type_url!r} is no type of Envoy's API")
    try:
        modules = importlib.import_module(package).__path__
    except ModuleNotFoundError as error:
        raise InvalidResourceError(f"{type_url!r} is no type of Envoy's API") from error
    for found in pkgutil.iter_modules(modules):
        if found.name.endswith("_pb2"):
            importlib.import_module(f"{package}.{found.name}")
