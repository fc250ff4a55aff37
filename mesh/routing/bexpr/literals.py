"""Texts and whole numbers as Go writes them.  Source: The Go Programming Language Specification.

A text stands between double quotes, with escapes, or between backquotes, as it is.  A whole
number may have a sign, a base (``0x``, ``0b``, ``0o`` or a leading 0) and underscores.
"""

from __future__ import annotations

import re
from typing import Final

_ESCAPE: Final = re.compile(
    r"\\(?:([abfnrtv\\\"])|x([0-9a-fA-F]{2})|([0-7]{3})|u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8}))|([^\\\n])"
)
_SIMPLE: Final = dict(zip('abfnrtv\\"', b'\a\b\f\n\r\t\v\\"', strict=True))
_INTEGER: Final = re.compile(
    r"([+-]?)(?:0[xX]((?:_?[0-9a-fA-F])+)|0[bB]((?:_?[01])+)|0[oO]?((?:_?[0-7])+)"
    r"|([1-9](?:_?[0-9])*|0))",
    re.ASCII,
)
_BASES: Final = (16, 2, 8, 10)
_BYTE: Final = 0xFF
_MOST: Final = 2**63


def unquote(literal: str) -> str | None:
    """Return the text that ``literal`` (quotes included) stands for, None if it is malformed."""
    inner = literal[1:-1]
    if literal.startswith("`"):
        return inner.replace("\r", "")
    found = bytearray()
    at = 0
    while at < len(inner):
        item = _ESCAPE.match(inner, at)
        if not item or not _append(found, item):
            return None
        at = item.end()
    try:
        return found.decode()
    except UnicodeDecodeError:
        return None


def whole_number(text: str) -> int | None:
    """Return the 64-bit number that ``text`` stands for, None if it stands for none."""
    found = _INTEGER.fullmatch(text)
    if not found:
        return None
    digits, base = next(
        (group.replace("_", ""), base)
        for group, base in zip(found.groups()[1:], _BASES, strict=True)
        if group is not None
    )
    value = int(digits, base)
    value = -value if found[1] == "-" else value
    return value if -_MOST <= value < _MOST else None


def _append(found: bytearray, item: re.Match[str]) -> bool:
    simple, byte, octal, short, long, plain = item.groups()
    if simple:
        found.append(_SIMPLE[simple])
    elif byte or octal:
        code = int(byte, 16) if byte else int(octal, 8)
        if code > _BYTE:
            return False
        found.append(code)
    else:
        try:
            found += (plain or chr(int(short or long, 16))).encode()
        except (ValueError, OverflowError):
            return False
    return True
