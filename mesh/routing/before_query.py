r"""A condition on the path, asked of the path and its query together.

Where two conditions on the path meet in one route, Envoy has room for one; the other is asked of
the ``:path`` header, which ends in the query.  To put an optional query behind the expression is
not enough: its ``.*`` would reach into the query, so that a caller could add ``?/public`` to be
taken for somebody who asks for what is public, and its ``$`` would never hold before a ``?``.
So the expression is written anew: nothing in it matches a question mark, and where it wants the
text to end, the query may come first.

A path is what stands before the first question mark; the only ones in the expression that
remain are operators.
"""

from __future__ import annotations

import functools
import re
from typing import Final

from mesh.policies.intentions.re2 import compile_re2

_MARK: Final = "?"
_LAST: Final = 0x10FFFF
_QUERY: Final = r"(?:\?.*)?"
_END: Final = rf"(?:{_QUERY}$)"
_NOTHING: Final = rf"[^\x00-\x{{{_LAST:X}}}]"
_TOKEN: Final = re.compile(
    r"""
      \\Q(?P<quoted>.*?)(?:\\E|\Z)
    | (?P<end>\$|\\z)
    | (?P<any>\.)
    | (?P<operator>\(\?[^:)>]*[:)>] | \\[AbB])
    | (?P<atom> \\x\{[0-9A-Fa-f]+\} | \\x[0-9A-Fa-f]{2} | \\.
        | \[\^?\]?(?:\[:\^?[a-z]+:\]|\\.|[^\]\\])*\] )
    | (?P<other>.)
    """,
    re.VERBOSE | re.DOTALL,
)


@functools.lru_cache(maxsize=1024)
def before_query(pattern: str) -> str:
    """Return the RE2 expression of ``:path`` that holds where ``pattern`` does of the path."""
    return f"(?:{_TOKEN.sub(_written, pattern)}){_QUERY}"


def _written(token: re.Match[str]) -> str:
    kind, text = token.lastgroup, token.group()
    if kind == "quoted":
        return "".join(_NOTHING if char == _MARK else re.escape(char) for char in token["quoted"])
    if kind == "end":
        return _END
    if kind == "any":
        return f"[^{_MARK}]"
    if kind == "atom" and compile_re2(text).fullmatch(_MARK):
        return _without_mark(text)
    return text


def _without_mark(atom: str) -> str:
    """Return a class of all that ``atom`` (one character) matches, the question mark left out."""
    if atom[0] == "\\" and atom[1].isupper():
        return f"[^\\{atom[1].lower()}{_MARK}]"
    if atom.startswith("[^"):
        # Behind the mark nothing begins a class any more, nor ends one.
        first = "\\" if atom[2] in "]-" else ""
        return f"[^{_MARK}{first}{atom[2:]}"
    members = re.compile(f"(?:{compile_re2(atom).pattern})+", re.ASCII)
    mark = ord(_MARK)
    ranges = [
        rf"\x{{{low:X}}}-\x{{{high:X}}}"
        for found in members.finditer(_characters())
        for low, high in (
            (found.start(), min(found.end(), mark) - 1),
            (max(found.start(), mark + 1), found.end() - 1),
        )
        if low <= high
    ]
    return f"[{''.join(ranges)}]" if ranges else _NOTHING


@functools.cache
def _characters() -> str:
    return "".join(map(chr, range(_LAST + 1)))
