"""What a filter may ask of an instance.

Consul filters the entries of ``/v1/health/connect/<service>``: a ``Node``, a ``Service`` (the
sidecar's registration) and ``Checks``.  Each field allows the operators of its type.  Of some
fields the mesh keeps nothing: those are known here by name, so that a person learns which it is.
"""

from __future__ import annotations

import enum
import functools
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from mesh.model.filters import Condition, Operator
from mesh.model.names import SIDECAR_SUFFIX
from mesh.model.services import Health, Instance, Registration
from mesh.policies.intentions.re2 import InvalidRegexError, compile_re2
from mesh.routing.bexpr.literals import whole_number

Getter = Callable[[Instance, str, str], Any]
"""Returns the field of an instance, of a service, in a zone; None for a missing key."""


class Type(enum.Enum):
    """What a field holds."""

    TEXT = "a text"
    INTEGER = "a whole number"
    TEXTS = "a list"
    MAP = "a map"
    STATUS = "the statuses of all checks"


_COMPARED: Final = frozenset({Operator.EQUAL, Operator.NOT_EQUAL})
_SEARCHED: Final = frozenset({Operator.IN, Operator.NOT_IN})
_MATCHED: Final = frozenset({Operator.MATCHES, Operator.NOT_MATCHES})
_COUNTED: Final = frozenset({Operator.EMPTY, Operator.NOT_EMPTY})
_OPERATORS: Final = {
    Type.TEXT: _COMPARED | _SEARCHED | _MATCHED,
    Type.INTEGER: _COMPARED,
    Type.TEXTS: _SEARCHED | _COUNTED,
    Type.MAP: _SEARCHED | _COUNTED,
    Type.STATUS: _COMPARED | _SEARCHED | _MATCHED,
}
_OF_CHECKS: Final = {
    (Operator.EQUAL, Health.CRITICAL.value),
    (Operator.NOT_EQUAL, Health.PASSING.value),
}
"""What the worst of all statuses answers: whether any is critical, whether any is not passing."""
_MULTILINE: Final = re.compile(r"\(\?[a-z]*m")
_END: Final = re.compile(r"(\\.)|\$", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Field:
    """What may be asked under one selector; without ``get`` the mesh has no answer."""

    type: Type
    get: Getter | None = None


def find(selector: tuple[str, ...]) -> Field | None:
    """Return the field at ``selector``, None if Consul has none there."""
    known = _FIELDS.get(selector)
    if known is not None:
        return known
    maps = _MAPS.get(selector[:-1])
    if maps is not None:
        key = selector[-1]
        return Field(Type.TEXT, lambda instance, _service, _zone: maps(instance).get(key))
    for length in range(1, len(selector) + 1):
        if selector[:length] in _NOT_KEPT:
            return Field(Type.TEXT)
    return None


def fault(condition: Condition) -> str:
    """Return what keeps ``condition`` from being asked, in an operator's words; empty if nothing.

    ``contains`` is the same as ``in``.
    """
    name = ".".join(condition.selector)
    field = find(condition.selector)
    if field is None:
        return f"{name} is no field of an instance: write Service.Meta.<key>, Service.Tags, ..."
    if field.get is None:
        return f"{name} is a field of Consul's that the mesh does not keep of an instance"
    if condition.operator not in _OPERATORS[field.type]:
        return f"{name} is {field.type.value}, which has no {condition.operator.value!r}"
    wrong = _value_fault(condition, field.type)
    return f"{name} {wrong}" if wrong else ""


def _value_fault(condition: Condition, asked: Type) -> str:
    value = condition.value
    if asked is Type.INTEGER and whole_number(value) is None:
        return f"is a whole number, which {value!r} is not"
    if asked is Type.STATUS and (condition.operator, value) not in _OF_CHECKS:
        return "can be answered only as '== critical' or '!= passing'"
    if condition.operator in _MATCHED:
        try:
            expression(value)
        except InvalidRegexError as error:
            return f"is matched with what is no usable RE2 expression: {error}"
    return ""


def integer(text: str) -> int:
    """Return the number that ``text`` stands for, which :func:`fault` has looked at."""
    found = whole_number(text)
    if found is None:
        raise ValueError(f"{text!r} is not a whole number")
    return found


@functools.lru_cache(maxsize=1024)
def expression(pattern: str) -> re.Pattern[str]:
    """Return ``pattern`` as a Python pattern that is found in the same texts.

    Raises:
        InvalidRegexError: it is not RE2, or has lines.

    """
    translated = compile_re2(pattern).pattern
    if _MULTILINE.search(translated):
        raise InvalidRegexError(f"{pattern!r}: the flag m is not possible in a filter")
    # RE2's $ is the end of the text; Python's may stand before a last line feed.
    return re.compile(_END.sub(lambda found: found[1] or r"\Z", translated), re.ASCII)


def _registration(instance: Instance, service: str) -> Registration:
    if instance.registration is not None:
        return instance.registration
    return Registration(f"{service}{SIDECAR_SUFFIX}", address=instance.address)


def _registered(name: str) -> Getter:
    return lambda instance, service, _zone: getattr(_registration(instance, service), name)


def _represented(instance: Instance, service: str, _zone: str) -> str:
    return service if _registration(instance, service).kind else ""


_FIELDS: Final[Mapping[tuple[str, ...], Field]] = {
    ("Service", "ID"): Field(Type.TEXT, lambda instance, _service, _zone: instance.id),
    ("Service", "Service"): Field(Type.TEXT, _registered("name")),
    ("Service", "Kind"): Field(Type.TEXT, _registered("kind")),
    ("Service", "Address"): Field(Type.TEXT, _registered("address")),
    ("Service", "Port"): Field(Type.INTEGER, lambda instance, _service, _zone: instance.port),
    ("Service", "Tags"): Field(Type.TEXTS, lambda instance, _service, _zone: instance.tags),
    ("Service", "Meta"): Field(Type.MAP, lambda instance, _service, _zone: instance.meta),
    ("Service", "Weights", "Passing"): Field(Type.INTEGER, _registered("passing")),
    ("Service", "Weights", "Warning"): Field(Type.INTEGER, _registered("warning")),
    ("Service", "Proxy", "DestinationServiceName"): Field(Type.TEXT, _represented),
    ("Node", "Node"): Field(Type.TEXT, lambda instance, _service, _zone: instance.node),
    ("Node", "Address"): Field(Type.TEXT, _registered("node_address")),
    ("Node", "Datacenter"): Field(Type.TEXT, lambda _instance, _service, zone: zone),
    ("Node", "Meta"): Field(Type.MAP, lambda instance, _service, _zone: instance.node_meta),
    ("Checks", "Status"): Field(
        Type.STATUS, lambda instance, _service, _zone: instance.health.value
    ),
}
_MAPS: Final[Mapping[tuple[str, ...], Callable[[Instance], Mapping[str, str]]]] = {
    ("Service", "Meta"): lambda instance: instance.meta,
    ("Node", "Meta"): lambda instance: instance.node_meta,
}
_NOT_KEPT: Final = frozenset(
    {
        ("Service", "TaggedAddresses"),
        ("Service", "SocketPath"),
        ("Service", "EnableTagOverride"),
        ("Service", "Connect", "Native"),
        *(("Service", "Proxy", name) for name in ("DestinationServiceID", "LocalServiceAddress")),
        *(("Service", "Proxy", name) for name in ("LocalServicePort", "LocalServiceSocketPath")),
        *(("Service", "Proxy", name) for name in ("Mode", "Upstreams", "MeshGateway", "Expose")),
        ("Service", "Proxy", "TransparentProxy"),
        ("Service", "Locality"),
        ("Service", "PeerName"),
        ("Node", "ID"),
        ("Node", "TaggedAddresses"),
        ("Node", "Locality"),
        ("Node", "Partition"),
        ("Node", "PeerName"),
        ("Checks",),
    }
)
