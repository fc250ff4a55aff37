"""Patches of finished xDS resources: what MeshProxyPatch comes down to.

A patch names the type of resource, perhaps one name, and what becomes of it.  Patches are
applied in order, the general policy's first; a resource that none of them matches passes as it
is.  A patch that does not fit is an error that names policy, resource and reason: nothing is
half-applied.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from mesh.envoy.resource import Resource, pack, unpack
from mesh.policies.kinds.proxy_patch import protobuf_json
from mesh.policies.kinds.proxy_patch.json_patch import Edit, JsonPatchError, patched
from mesh.policies.kinds.proxy_patch.protobuf_json import MESSAGES, InvalidResourceError, name_of

_WELL_KNOWN: Final = "google.protobuf."
_STRUCT: Final = "google.protobuf.Struct"


class Operation(enum.StrEnum):
    """What becomes of a resource."""

    PATCH = "Patch"
    REMOVE = "Remove"
    ADD = "Add"


@dataclass(frozen=True, slots=True)
class Patch:
    """One modification; an empty ``name`` means every resource of the type.

    A ``PATCH`` has either ``edits`` or a ``value`` (a serialised message that is merged); an
    ``ADD`` has a ``value``.
    """

    policy: str
    type_url: str
    operation: Operation
    name: str = ""
    edits: tuple[Edit, ...] = ()
    value: bytes = b""

    def matches(self, resource: Resource) -> bool:
        """Whether ``resource`` is meant."""
        return resource.type_url == self.type_url and self.name in ("", resource.name)


class PatchError(ValueError):
    """A patch cannot be applied: by which ``policy``, to which ``resource``, for what reason."""

    def __init__(self, policy: str, resource: str, reason: str) -> None:
        """Keep what a person needs to mend the policy."""
        self.policy = policy
        self.resource = resource
        self.reason = reason
        super().__init__(f"{policy} cannot be applied to {resource}: {reason}")


def apply(patches: Sequence[Patch], resources: Iterable[Resource]) -> tuple[Resource, ...]:
    """Return all ``resources`` of a proxy with ``patches`` applied; what is added comes last.

    Raises:
        PatchError: one of the patches cannot be applied.

    """
    found = tuple(resources)
    for patch in patches:
        if patch.operation is Operation.ADD:
            found = (*found, _added(patch, found))
        elif any(patch.matches(each) for each in found):
            found = _changed(patch, found)
    return found


def _added(patch: Patch, present: Iterable[Resource]) -> Resource:
    message = MESSAGES[patch.type_url].FromString(patch.value)
    new = pack(name_of(message), message)
    if any(each.type_url == new.type_url and each.name == new.name for each in present):
        raise _error(patch, new, "a resource of this name is already there; use Patch")
    return new


def _changed(patch: Patch, present: Iterable[Resource]) -> tuple[Resource, ...]:
    if patch.operation is Operation.REMOVE:
        return tuple(each for each in present if not patch.matches(each))
    return tuple(_patched(patch, each) if patch.matches(each) else each for each in present)


def _patched(patch: Patch, resource: Resource) -> Resource:
    message = unpack(resource)
    if patch.edits:
        try:
            message = protobuf_json.read(
                patch.type_url, patched(patch.edits, protobuf_json.write(message))
            )
        except (JsonPatchError, InvalidResourceError) as error:
            raise _error(patch, resource, str(error)) from error
    else:
        _merge(message, MESSAGES[patch.type_url].FromString(patch.value))
    if name_of(message) != resource.name:
        raise _error(patch, resource, f"its name cannot become {name_of(message)!r}")
    return pack(resource.name, message)


def _merge(message: Any, value: Any) -> None:
    """Merge as protobuf does, but replace durations, wrappers and ``Any``s as a whole.

    They are one value each to a person: 500ms over 5s shall not be 5.5s, nor 0 over 5 be 5.
    """
    _make_room(message, value)
    message.MergeFrom(value)


def _make_room(message: Any, value: Any) -> None:
    for field, inner in value.ListFields():
        kind = field.message_type
        if kind is None or field.is_repeated or not message.HasField(field.name):
            continue
        if kind.full_name.startswith(_WELL_KNOWN) and kind.full_name != _STRUCT:
            message.ClearField(field.name)
        else:
            _make_room(getattr(message, field.name), inner)


def _error(patch: Patch, resource: Resource, reason: str) -> PatchError:
    kind = patch.type_url.rpartition(".")[2]
    return PatchError(patch.policy, f"{kind} {resource.name!r}", reason)
