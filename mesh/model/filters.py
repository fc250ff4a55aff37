"""A condition on an instance: the syntax tree of Consul's filter expressions.

Reading and asking are in ``routing.bexpr``.  Source: Consul's reference "Filtering" (go-bexpr).
"""

from __future__ import annotations

import enum
from dataclasses import dataclass


class Operator(enum.StrEnum):
    """What a selector's value is asked."""

    EQUAL = "=="
    NOT_EQUAL = "!="
    IN = "in"
    """The value is among the selector's (or a part of its text)."""
    NOT_IN = "not in"
    EMPTY = "is empty"
    NOT_EMPTY = "is not empty"
    MATCHES = "matches"
    NOT_MATCHES = "not matches"


@dataclass(frozen=True, slots=True)
class Condition:
    """One comparison.  ``selector`` is the path: ``("Service", "Meta", "version")``."""

    selector: tuple[str, ...]
    operator: Operator
    value: str = ""


@dataclass(frozen=True, slots=True)
class Not:
    """The opposite of ``inner``."""

    inner: Filter


@dataclass(frozen=True, slots=True)
class And:
    """Both."""

    left: Filter
    right: Filter


@dataclass(frozen=True, slots=True)
class Or:
    """Either."""

    left: Filter
    right: Filter


Filter = Condition | Not | And | Or
