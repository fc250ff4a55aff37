"""POSIX character classes (``[:alnum:]``), which RE2 has and Python's ``re`` lacks."""

from __future__ import annotations

import re
from typing import Final

LAST: Final = 0x10FFFF
"""The last character there is."""

POSIX_CLASSES: Final = {
    "alnum": "09AZaz",
    "alpha": "AZaz",
    "ascii": "\x00\x7f",
    "blank": "\t\t  ",
    "cntrl": "\x00\x1f\x7f\x7f",
    "digit": "09",
    "graph": "!~",
    "lower": "az",
    "print": " ~",
    "punct": "!/:@[`{~",
    "space": "\t\r  ",
    "upper": "AZ",
    "word": "09AZ__az",
    "xdigit": "09AFaf",
}
"""Each class as pairs of first and last character, in order."""


def members(name: str, *, inverted: bool) -> str:
    """Write a class, or all but it, as ranges to stand between brackets."""
    codes = [ord(end) for end in POSIX_CLASSES[name]]
    if inverted:
        inner = [code + 1 if index % 2 else code - 1 for index, code in enumerate(codes)]
        codes = [0, *inner, LAST] if inner[0] >= 0 else [*inner[1:], LAST]
    pairs = zip(codes[::2], codes[1::2], strict=True)
    spans = [(low, high) for low, high in pairs if low <= high]
    return "".join(f"{re.escape(chr(low))}-{re.escape(chr(high))}" for low, high in spans)
