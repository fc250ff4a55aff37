"""MeshProxyPatch: the last resort, a change to the finished xDS resources of a proxy.

A JSON patch works on a resource's protobuf JSON (``/connectTimeout``), where only what is set is
there; a value is merged as protobuf merges: lists grow, maps and messages are merged, and what is
one value to a person (durations, wrappers, an extension's ``typedConfig``) is replaced.  Source:
Kuma's MeshProxyPatch.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Annotated, Any, Final, Literal, Self

import yaml
from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from mesh.envoy.resource import CLUSTER, ENDPOINTS, LISTENER, ROUTE, SECRET
from mesh.policies.document import Document
from mesh.policies.kind import Kind, Violations
from mesh.policies.kinds.proxy_patch import protobuf_json
from mesh.policies.kinds.proxy_patch.json_patch import Edit, check_pointer
from mesh.policies.kinds.proxy_patch.patching import Operation, Patch, PatchError, apply
from mesh.policies.kinds.proxy_patch.protobuf_json import InvalidResourceError, name_of
from mesh.policies.shape import Strict
from mesh.policies.spec import Spec

__all__ = ["KIND", "Operation", "Patch", "PatchError", "apply", "patches"]

_TYPES: Final = {
    "cluster": CLUSTER,
    "listener": LISTENER,
    "route": ROUTE,
    "endpoints": ENDPOINTS,
    "secret": SECRET,
}
_VALUED: Final = ("add", "replace", "test")
_SOURCED: Final = ("move", "copy")


def _pointer(value: str) -> str:
    check_pointer(value)
    return value


def _resource(value: object) -> object:
    if not isinstance(value, str):
        return value
    try:
        loaded = yaml.safe_load(value)
    except yaml.YAMLError as error:
        raise ValueError(f"is not YAML: {' '.join(str(error).split())}") from error
    if not isinstance(loaded, dict):
        raise ValueError("is not an object")  # noqa: TRY004 - pydantic wants a ValueError
    # What YAML knows beyond JSON (dates, keys that are no text) becomes text.
    return json.loads(json.dumps(loaded, default=str))


Pointer = Annotated[str, AfterValidator(_pointer)]
ResourceValue = Annotated[
    dict[str, Any], BeforeValidator(_resource, json_schema_input_type=str | dict[str, Any])
]


class ResourceMatch(Strict):
    """Which resources are meant."""

    name: Annotated[str, Field(min_length=1)] | None = None
    """The resource's name, such as ``api`` or ``v2.api`` for a cluster; every one if unsaid."""


class JsonPatch(Strict):
    """One operation of RFC 6902."""

    op: Literal["add", "remove", "replace", "move", "copy", "test"]
    """What is done."""
    path: Pointer
    """Where: a JSON Pointer such as ``/connectTimeout``."""
    from_: Pointer | None = Field(default=None, alias="from")
    """Where the value comes from (``move``, ``copy``)."""
    value: Any = None
    """The value (``add``, ``replace``, ``test``)."""

    @model_validator(mode="after")
    def _whole(self) -> Self:
        for name, alias, ops in (("value", "value", _VALUED), ("from_", "from", _SOURCED)):
            if name in self.model_fields_set and self.op not in ops:
                raise ValueError(f"op {self.op} takes no {alias}")
            if name not in self.model_fields_set and self.op in ops:
                raise ValueError(f"op {self.op} needs a {alias}")
        return self

    def form(self) -> Edit:
        """Return what is applied."""
        value = json.dumps(self.value, sort_keys=True)
        return Edit(self.op, self.path, value, self.from_ or "")


class Modification(Strict):
    """What becomes of resources of one type."""

    operation: Literal["Patch", "Remove", "Add"]
    """Change those that match, take them away, or add one."""
    match: ResourceMatch | None = None
    """Which resources are meant; every one of the type where nothing is said."""
    json_patches: Annotated[tuple[JsonPatch, ...], Field(min_length=1)] | None = None
    """Operations on the resource's protobuf JSON, one after the other."""
    value: ResourceValue | None = None
    """A resource, or a part of one, in Envoy's YAML or JSON: added, or merged."""

    @model_validator(mode="after")
    def _whole(self) -> Self:
        given = self.json_patches is not None, self.value is not None
        if self.operation == "Patch" and given[0] == given[1]:
            raise ValueError("operation Patch takes either jsonPatches or value")
        if self.operation == "Remove" and any(given):
            raise ValueError("operation Remove takes neither jsonPatches nor value")
        if self.operation == "Add" and (given != (False, True) or self.match is not None):
            raise ValueError("operation Add takes a value, and neither match nor jsonPatches")
        return self


class Append(Strict):
    """One modification, of exactly one type of resource."""

    cluster: Modification | None = None
    """Of clusters: how a service is called (``Cluster``)."""
    listener: Modification | None = None
    """Of listeners (``Listener``)."""
    route: Modification | None = None
    """Of route configurations (``RouteConfiguration``)."""
    endpoints: Modification | None = None
    """Of a cluster's instances (``ClusterLoadAssignment``)."""
    secret: Modification | None = None
    """Of secrets that the zone sends (``Secret``); private keys are never among them."""

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if len(self.model_fields_set) != 1 or next(iter(self.said), None) is None:
            raise ValueError(f"takes exactly one of {', '.join(_TYPES)}")
        return self

    @property
    def said(self) -> Iterator[tuple[str, Modification]]:
        """Yield the modification with the name of its type."""
        for name in _TYPES:
            modification = getattr(self, name)
            if modification is not None:
                yield name, modification


class Modifications(Strict):
    """The ``default`` of MeshProxyPatch."""

    append_modifications: tuple[Append, ...] = Field(min_length=1)
    """The modifications, in the order in which they are applied."""


class ProxyPatchSpec(Spec):
    """The ``spec`` of MeshProxyPatch."""

    default: Modifications
    """What is changed."""


def patches(document: Document) -> tuple[Patch, ...]:
    """Return what ``document``, a MeshProxyPatch, does to resources."""
    spec = document.spec
    if not isinstance(spec, ProxyPatchSpec):
        raise TypeError(f"{document.label} is no MeshProxyPatch")
    return tuple(
        _patch(document.label, _TYPES[name], modification)
        for append in spec.default.append_modifications
        for name, modification in append.said
    )


def _patch(policy: str, type_url: str, modification: Modification) -> Patch:
    value = b""
    if modification.value is not None:
        message = protobuf_json.read(type_url, modification.value)
        value = message.SerializeToString(deterministic=True)
    return Patch(
        policy,
        type_url,
        Operation(modification.operation),
        (modification.match and modification.match.name) or "",
        tuple(edit.form() for edit in modification.json_patches or ()),
        value,
    )


def _check(spec: ProxyPatchSpec) -> Violations:
    for index, append in enumerate(spec.default.append_modifications):
        for name, modification in append.said:
            wrong = _wrong(_TYPES[name], modification)
            if wrong:
                yield f"default.appendModifications[{index}].{name}.value", wrong


def _wrong(type_url: str, modification: Modification) -> str:
    if modification.value is None:
        return ""
    try:
        name = name_of(protobuf_json.read(type_url, modification.value))
    except InvalidResourceError as error:
        return str(error)
    if modification.operation == "Add":
        return "" if name else "needs a name"
    matched = modification.match.name if modification.match else None
    return "cannot change the name" if name and name != matched else ""


KIND: Final = Kind(
    name="MeshProxyPatch",
    summary="The last resort: changes to the Envoy resources that a proxy is sent.",
    conf=Modifications,
    spec=ProxyPatchSpec,
    check=_check,
    example="""\
type: MeshProxyPatch
name: web-to-api
spec:
  targetRef:
    kind: Dataplane
    labels: {service: web}
  default:
    appendModifications:
      - cluster:
          operation: Patch
          match: {name: api}
          jsonPatches:
            - {op: add, path: /dnsLookupFamily, value: V4_ONLY}
      - cluster:
          operation: Patch
          match: {name: api}
          value: |
            upstreamConnectionOptions:
              tcpKeepalive: {keepaliveTime: 60}
""",
)
