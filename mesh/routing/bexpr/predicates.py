"""A filter expression as a function of an instance."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Final

from mesh.model.filters import And, Condition, Filter, Not, Operator
from mesh.model.services import Instance
from mesh.routing.bexpr.grammar import InvalidFilterError, read
from mesh.routing.bexpr.selectors import Getter, Type, expression, fault, find, integer

Predicate = Callable[[Instance, str, str], bool]
"""Whether an instance of a service in a zone is selected."""

_KEPT: Final = 4096
_OPPOSITES: Final = frozenset({Operator.NOT_EQUAL, Operator.NOT_IN, Operator.NOT_EMPTY})


def parse(text: str) -> Filter:
    """Read a filter expression.

    Raises:
        InvalidFilterError: where the text is no expression, or every condition that is wrong.

    """
    found, conditions = read(text)
    faults = [
        f"at character {position + 1}: {wrong}"
        for position, condition in conditions
        if (wrong := fault(condition))
    ]
    if faults:
        raise InvalidFilterError(text, tuple(faults))
    return found


def evaluate(condition: Filter, instance: Instance, *, service: str, zone: str) -> bool:
    """Say whether ``condition`` selects ``instance``, which answers for ``service`` in ``zone``.

    Raises:
        InvalidFilterError: :func:`parse` would have refused it.

    """
    return predicate(condition)(instance, service, zone)


@functools.lru_cache(maxsize=_KEPT)
def predicate(condition: Filter) -> Predicate:
    """Return ``condition`` as a function, for those who ask it of many instances.

    Raises:
        InvalidFilterError: :func:`parse` would have refused it.

    """
    if isinstance(condition, Condition):
        return _single(condition)
    if isinstance(condition, Not):
        return _opposite(predicate(condition.inner))
    left, right = predicate(condition.left), predicate(condition.right)
    if isinstance(condition, And):
        return lambda instance, service, zone: (
            left(instance, service, zone) and right(instance, service, zone)
        )
    return lambda instance, service, zone: (
        left(instance, service, zone) or right(instance, service, zone)
    )


def _single(condition: Condition) -> Predicate:
    field = find(condition.selector)
    if field is None or field.get is None or fault(condition):
        raise InvalidFilterError(".".join(condition.selector), (fault(condition),))
    operator, value = condition.operator, condition.value
    if operator in {Operator.MATCHES, Operator.NOT_MATCHES}:
        return _matching(field.get, value, wanted=operator is Operator.MATCHES)
    if operator in {Operator.EQUAL, Operator.NOT_EQUAL}:
        answer = _equal(field.get, integer(value) if field.type is Type.INTEGER else value)
    elif operator in {Operator.IN, Operator.NOT_IN}:
        answer = _containing(field.get, value)
    else:
        answer = _empty(field.get)
    return _opposite(answer) if operator in _OPPOSITES else answer


def _equal(get: Getter, wanted: object) -> Predicate:
    return lambda instance, service, zone: bool(get(instance, service, zone) == wanted)


def _containing(get: Getter, value: str) -> Predicate:
    return lambda instance, service, zone: (
        (found := get(instance, service, zone)) is not None and value in found
    )


def _empty(get: Getter) -> Predicate:
    return lambda instance, service, zone: not get(instance, service, zone)


def _matching(get: Getter, pattern: str, *, wanted: bool) -> Predicate:
    search = expression(pattern).search
    return lambda instance, service, zone: (
        (found := get(instance, service, zone)) is None or (search(found) is not None) is wanted
    )


def _opposite(inner: Predicate) -> Predicate:
    return lambda instance, service, zone: not inner(instance, service, zone)
