"""Durations as Go writes them (``1m30s``, ``500ms``), in which Consul's API speaks."""

from __future__ import annotations

import re

_UNITS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
_PART = re.compile(r"(\d+(?:\.\d*)?|\.\d+)(ns|us|µs|ms|s|m|h)")

NANOSECOND = 1e-9


class InvalidDurationError(ValueError):
    """A text is not a duration, in the words of Go's ``time.ParseDuration``."""


def parse(text: str) -> float:
    """Return the seconds that ``text`` stands for; ``0`` needs no unit.

    Raises:
        InvalidDurationError: ``text`` is not a sequence of numbers with units.

    """
    if text == "0":
        return 0.0
    seconds, end = 0.0, 0
    while found := _PART.match(text, end):
        seconds += float(found[1]) * _UNITS[found[2]]
        end = found.end()
    if not text or end != len(text):
        raise InvalidDurationError(f'time: invalid duration "{text}"')
    return seconds


def read(value: object) -> float:
    """Return seconds from a JSON value: a duration's text, or a number of nanoseconds.

    Raises:
        InvalidDurationError: the value is neither.

    """
    if value is None or value == "":
        return 0.0
    if isinstance(value, str):
        return parse(value)
    if isinstance(value, int | float) and not isinstance(value, bool):
        return value * NANOSECOND
    raise InvalidDurationError(f"time: invalid duration {value!r}")
