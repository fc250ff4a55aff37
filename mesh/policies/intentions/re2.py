"""RE2's dialect, evaluated with Python's ``re``.

Envoy matches with RE2; the control plane explains a verdict with Python.  The two dialects
differ, and where they differ silently an explanation would lie.  So a pattern is read by
RE2's grammar (https://github.com/google/re2/wiki/Syntax) and written anew in Python's:
what RE2 lacks (lookaround, backreferences, possessive repetition, ...) is refused here,
before Envoy refuses a whole configuration because of it.

Only whole matches are asked for, hence greediness is of no consequence.
"""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass, field
from typing import Final

from mesh.policies.intentions.posix import LAST, POSIX_CLASSES, members

_MAX_REPEAT: Final = 1000
"""RE2's limit on a counted repetition, and on the product of nested ones."""

_COUNT: Final = re.compile(r"\{(\d+)(?:(,)(\d*))?\}")
_FLAGS: Final = re.compile(r"\(\?([imsU]*)(-[imsU]+)?([:)])")
_NAMED: Final = re.compile(r"\(\?P?<([A-Za-z_][A-Za-z0-9_]*)>")
_HEX: Final = re.compile(r"x(?:\{([0-9A-Fa-f]+)\}|([0-9A-Fa-f]{2}))")
_POSIX: Final = re.compile(r"\[:(\^?)([a-z]+):\]")
_CONTROL: Final = frozenset("afnrtv")
_PERL_CLASSES: Final = frozenset("dDwWsS")
_ANCHORS: Final = {"A": r"\A", "z": r"\Z", "b": r"\b", "B": r"\B"}

_MISSING: Final = {
    "(?=": "lookahead",
    "(?!": "lookahead",
    "(?<=": "lookbehind",
    "(?<!": "lookbehind",
    "(?>": "atomic groups",
    "(?#": "comments",
    "(?(": "conditionals",
    "(?P=": "backreferences",
}


class InvalidRegexError(ValueError):
    """A pattern is not RE2, or uses a part of RE2 that cannot be evaluated here."""


@functools.lru_cache(maxsize=4096)
def compile_re2(pattern: str) -> re.Pattern[str]:
    """Return ``pattern`` as a Python pattern that matches the same whole strings.

    Raises:
        InvalidRegexError: what is wrong and where.

    """
    translated = _Reader(pattern).translate()
    try:
        return re.compile(translated, re.ASCII)
    except (re.error, OverflowError, RecursionError) as error:
        raise InvalidRegexError(f"{pattern!r}: {error}") from error


def full_match(pattern: str, text: str) -> bool:
    """Say whether the whole of ``text`` matches the RE2 ``pattern``."""
    return compile_re2(pattern).fullmatch(text) is not None


@dataclass(slots=True)
class _Group:
    """An open parenthesis: the heaviest repetition within, and what closes it."""

    weight: int = 1
    closing: str = ")"
    empty: bool = True


@dataclass(slots=True)
class _Reader:
    """Reads RE2 from left to right and writes Python."""

    pattern: str
    at: int = 0
    out: list[str] = field(default_factory=list)
    groups: list[_Group] = field(default_factory=lambda: [_Group(closing="")])
    atom: int = 0
    """Weight of what a repetition would repeat; 0 where there is nothing to repeat."""
    repeated: bool = False

    def translate(self) -> str:
        while self.at < len(self.pattern):
            self._step()
        if len(self.groups) > 1:
            self._refuse("missing )")
        self.out.append(self.groups[0].closing)
        return "".join(self.out)

    def _step(self) -> None:
        char = self.pattern[self.at]
        counted = _COUNT.match(self.pattern, self.at)
        if char in "*+?" or counted:
            self._repetition(counted)
        elif char == "(":
            self._open()
        elif char == ")":
            self._close()
        elif char == "[":
            self._put(_ClassReader(self).translate())
        elif char == "\\":
            self._escape()
        else:
            self.at += 1
            if char == "|":
                self.out.append(char)
                self.atom, self.repeated = 0, False
            else:
                self._put(char if char in ".^$" else re.escape(char))

    def _put(self, text: str, weight: int = 1) -> None:
        self.out.append(text)
        self.atom, self.repeated = weight, False
        self.groups[-1].empty = False

    def _repetition(self, counted: re.Match[str] | None) -> None:
        token = counted.group() if counted else self.pattern[self.at]
        if self.repeated:
            self._refuse(f"{token!r} after a repetition: RE2 has no possessive or stacked ones")
        if not self.atom:
            self._refuse(f"nothing to repeat before {token!r}")
        if counted:
            self.atom *= self._count(counted)
            if self.atom > _MAX_REPEAT:
                self._refuse(f"nested repetitions exceed RE2's limit of {_MAX_REPEAT}")
        self.at += len(token)
        self.groups[-1].weight = max(self.groups[-1].weight, self.atom)
        self.out.append(token)
        self.repeated = True
        if self.pattern.startswith("?", self.at):
            self.at += 1

    def _count(self, counted: re.Match[str]) -> int:
        least = int(counted[1])
        most = int(counted[3]) if counted[3] else least
        if max(least, most) > _MAX_REPEAT or most < least:
            self._refuse(f"{counted.group()} is not a repetition of at most {_MAX_REPEAT}")
        return max(most, 1)

    def _open(self) -> None:
        rest = self.pattern[self.at :]
        named = _NAMED.match(rest)
        flags = _FLAGS.match(rest)
        for token, what in _MISSING.items():
            if rest.startswith(token):
                self._refuse(f"RE2 has no {what}")
        if named:
            self._enter(named.group(), "(")
        elif flags:
            self._flags(flags)
        elif rest.startswith("(?"):
            self._refuse(f"RE2 has no {rest[:3]!r}")
        else:
            self._enter("(", "(")

    def _flags(self, flags: re.Match[str]) -> None:
        on = "".join(sorted(set(flags[1]) - {"U"}))
        off = "".join(sorted(set(flags[2] or "") - {"-", "U"}))
        scoped = f"(?{on}{'-' if off else ''}{off}:"
        if flags[3] == ":":
            self._enter(flags.group(), scoped)
        elif not self.groups[-1].empty:
            self._refuse("flags can be evaluated only at the start of a pattern or group")
        else:
            # They hold to the end of the enclosing group, alternatives included.
            self.at += len(flags.group())
            self.out.append(scoped)
            self.groups[-1].closing += ")"

    def _enter(self, token: str, written: str) -> None:
        self.at += len(token)
        self.out.append(written)
        self.groups.append(_Group())
        self.atom, self.repeated = 0, False

    def _close(self) -> None:
        if len(self.groups) == 1:
            self._refuse("unexpected )")
        self.at += 1
        group = self.groups.pop()
        self._put(group.closing, group.weight)
        self.groups[-1].weight = max(self.groups[-1].weight, group.weight)

    def _escape(self) -> None:
        letter = self.pattern[self.at + 1 : self.at + 2]
        if letter == "Q":
            end = self.pattern.find("\\E", self.at)
            quoted = self.pattern[self.at + 2 : end if end >= 0 else None]
            self.at = end + 2 if end >= 0 else len(self.pattern)
            for char in quoted:
                self._put(re.escape(char))
        elif letter in _ANCHORS:
            self.at += 2
            self._put(_ANCHORS[letter])
        else:
            self._put(self.escaped())

    def escaped(self) -> str:
        """Read an escape that may also stand in a class."""
        letter = self.pattern[self.at + 1 : self.at + 2]
        if not letter:
            self._refuse("ends in a backslash")
        if found := _HEX.match(self.pattern, self.at + 1):
            code = int(found[1] or found[2], 16)
            if code > LAST:
                self._refuse(f"{found.group()} is no character")
            self.at = found.end()
            return re.escape(chr(code))
        if letter.isdigit():
            self._refuse(f"RE2 has no backreferences (\\{letter}); write a character as \\x41")
        if letter in "pPC":
            self._refuse(f"\\{letter} cannot be evaluated; list the characters instead")
        self.at += 2
        if letter in _PERL_CLASSES or letter in _CONTROL:
            return f"\\{letter}"
        if letter.isascii() and letter.isalnum():
            self._refuse(f"RE2 has no \\{letter}")
        return re.escape(letter)

    def _refuse(self, why: str) -> None:
        raise InvalidRegexError(f"{self.pattern!r} at {self.at}: {why}")


@dataclass(slots=True)
class _ClassReader:
    """Reads ``[...]``.  Characters are written escaped, as Python reserves more of them."""

    reader: _Reader

    def translate(self) -> str:
        reader, text = self.reader, self.reader.pattern
        reader.at += 1
        out = ["["]
        if text.startswith("^", reader.at):
            reader.at += 1
            out.append("^")
        first, range_start = True, False
        while first or not text.startswith("]", reader.at):
            if reader.at >= len(text):
                raise InvalidRegexError(f"{text!r}: missing ]")
            is_dash = text.startswith("-", reader.at)
            if is_dash and range_start and not text.startswith("-]", reader.at):
                reader.at += 1
                out.append("-" + self._item()[0])
                range_start = False
            else:
                item, range_start = self._item()
                out.append(item)
            first = False
        reader.at += 1
        return "".join([*out, "]"])

    def _item(self) -> tuple[str, bool]:
        """Return the next member, and whether a range may start with it."""
        reader, text = self.reader, self.reader.pattern
        if posix := _POSIX.match(text, reader.at):
            if posix[2] not in POSIX_CLASSES:
                raise InvalidRegexError(f"{text!r} at {reader.at}: unknown class {posix.group()}")
            reader.at = posix.end()
            return members(posix[2], inverted=bool(posix[1])), False
        if text.startswith("\\", reader.at):
            letter = text[reader.at + 1 : reader.at + 2]
            return reader.escaped(), letter not in _PERL_CLASSES
        char = text[reader.at : reader.at + 1]
        reader.at += 1
        return re.escape(char) if char != "&" else r"\&", True
