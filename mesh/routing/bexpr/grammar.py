"""The grammar of Consul's filter expressions.

It is go-bexpr's, as Consul has it since 1.5 (https://github.com/hashicorp/go-bexpr), with the
JSON pointers of its later versions.  ``not`` binds tighter than ``and``, ``and`` tighter than
``or``.  The words are no keywords: ``not in Service.Tags`` asks for the tag ``not``, hence a
second try where the first reading of a ``not`` fails.  What is wrong is said at the furthest
place that was reached.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Final, NoReturn

from mesh.model.filters import And, Condition, Filter, Not, Operator, Or
from mesh.routing.bexpr.literals import unquote

MAX_LENGTH: Final = 4096
"""Characters of an expression."""
MAX_DEPTH: Final = 32
"""Parentheses and negations around one condition."""
MAX_CONDITIONS: Final = 64

_SPACE: Final = re.compile(r"[ \t\r\n]*")
_IDENTIFIER: Final = re.compile(r"[a-zA-Z][a-zA-Z0-9_]*")
_POINTER: Final = re.compile(r'"((?:/[\w.~:|-]+)+)"')
_NUMBER: Final = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?![^ \t\r\n)])")
_LIKE_NUMBER: Final = re.compile(r"-?[0-9]")
_GAP: Final = r"[ \t\r\n]+"

Conditions = list[tuple[int, Condition]]
"""Every condition, with the place where it starts."""


class InvalidFilterError(ValueError):
    """A text is no filter, or cannot be used as one; ``faults`` hold every reason and place."""

    def __init__(self, text: str, faults: tuple[str, ...]) -> None:
        """Keep what was refused and why."""
        self.text = text
        self.faults = faults
        super().__init__(f"{text!r}: {'; '.join(faults)}")


def read(text: str) -> tuple[Filter, Conditions]:
    """Return the syntax tree of ``text``, and its conditions with their places.

    Raises:
        InvalidFilterError: where it stops to be an expression.

    """
    if len(text) > MAX_LENGTH:
        raise InvalidFilterError(text[:40], (f"is longer than {MAX_LENGTH} characters",))
    reader = _Reader(text)
    try:
        found = reader.whole()
    except _FailureError:
        raise InvalidFilterError(text, (reader.complaint(),)) from None
    if len(reader.conditions) > MAX_CONDITIONS:
        raise InvalidFilterError(text, (f"has more than {MAX_CONDITIONS} conditions",))
    return found, reader.conditions


def _words(*words: str) -> re.Pattern[str]:
    return re.compile(_GAP + _GAP.join(words))


_SYMBOLS: Final = (
    (re.compile(r"[ \t\r\n]*==[ \t\r\n]*"), Operator.EQUAL),
    (re.compile(r"[ \t\r\n]*!=[ \t\r\n]*"), Operator.NOT_EQUAL),
    (re.compile(_words("contains").pattern + _GAP), Operator.IN),
    (re.compile(_words("not", "contains").pattern + _GAP), Operator.NOT_IN),
    (re.compile(_words("matches").pattern + _GAP), Operator.MATCHES),
    (re.compile(_words("not", "matches").pattern + _GAP), Operator.NOT_MATCHES),
)
"""Between a selector and a value."""
_STATES: Final = (
    (_words("is", "empty"), Operator.EMPTY),
    (_words("is", "not", "empty"), Operator.NOT_EMPTY),
)
"""After a selector."""
_MEMBERSHIPS: Final = (
    (re.compile(_words("in").pattern + _GAP), Operator.IN),
    (re.compile(_words("not", "in").pattern + _GAP), Operator.NOT_IN),
)
"""Between a value and a selector."""
_OR: Final = re.compile(_words("or").pattern + _GAP)
_AND: Final = re.compile(_words("and").pattern + _GAP)
_NOT: Final = re.compile("not" + _GAP)


class _FailureError(Exception):
    """What was tried does not stand here; another reading may."""


class _Reader:
    """One reading of one text."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0
        self._depth = 0
        self._furthest = 0
        self._wanted: list[str] = []
        self.conditions: Conditions = []

    def whole(self) -> Filter:
        self._space()
        found = self._or()
        self._space()
        if self._at < len(self._text):
            self._fail("'and', 'or' or the end")
        return found

    def complaint(self) -> str:
        rest = self._text[self._furthest : self._furthest + 20]
        wanted = " or ".join(dict.fromkeys(self._wanted))
        there = f"not {rest!r}" if rest else "but the text ends"
        return f"at character {self._furthest + 1}: expected {wanted}, {there}"

    def _or(self) -> Filter:
        return self._chain(_OR, self._and, Or)

    def _and(self) -> Filter:
        return self._chain(_AND, self._not, And)

    def _chain(
        self,
        word: re.Pattern[str],
        part: Callable[[], Filter],
        join: Callable[[Filter, Filter], Filter],
    ) -> Filter:
        parts = [part()]
        while self._take(word):
            parts.append(part())
        found = parts.pop()
        while parts:
            found = join(parts.pop(), found)
        return found

    def _not(self) -> Filter:
        start, kept = self._at, len(self.conditions)
        if self._take(_NOT):
            try:
                with _Deeper(self):
                    inner = self._not()
            except _FailureError:
                # The word may be a value or a selector.
                self._at = start
                del self.conditions[kept:]
            else:
                return inner.inner if isinstance(inner, Not) else Not(inner)
        return self._group() if self._text.startswith("(", self._at) else self._match()

    def _group(self) -> Filter:
        self._at += 1
        with _Deeper(self):
            self._space()
            found = self._or()
        self._space()
        if not self._text.startswith(")", self._at):
            self._fail("')'")
        self._at += 1
        return found

    def _match(self) -> Filter:
        start = self._at
        selector = self._selector()
        if selector:
            after = self._at
            operator = self._operator(_SYMBOLS)
            if operator is not None:
                return self._condition(start, selector, operator, self._value())
            operator = self._operator(_STATES)
            if operator is not None:
                return self._condition(start, selector, operator, "")
            self._want(after, "an operator")
            self._at = start
        value = self._value()
        operator = self._operator(_MEMBERSHIPS)
        if operator is None:
            self._fail("an operator")
        asked = self._selector()
        if not asked:
            self._fail("a selector such as Service.Tags")
        return self._condition(start, asked, operator, value)

    def _condition(
        self, start: int, selector: tuple[str, ...], operator: Operator, value: str
    ) -> Condition:
        found = Condition(selector, operator, value)
        self.conditions.append((start, found))
        return found

    def _selector(self) -> tuple[str, ...]:
        """Return the path of a selector, an empty one where none stands."""
        pointer = _POINTER.match(self._text, self._at)
        if pointer:
            self._at = pointer.end()
            steps = pointer[1].split("/")[1:]
            return tuple(step.replace("~1", "/").replace("~0", "~") for step in steps)
        first = self._take(_IDENTIFIER)
        if not first:
            return ()
        path = [first]
        while True:
            if self._text.startswith(".", self._at):
                self._at += 1
                path.append(self._take(_IDENTIFIER) or self._fail("a name"))
            elif self._text.startswith("[", self._at):
                path.append(self._index())
            else:
                return tuple(path)

    def _index(self) -> str:
        self._at += 1
        self._space()
        if not self._text.startswith(('"', "`"), self._at):
            self._fail("a key in quotes")
        found = self._quoted()
        self._space()
        if not self._text.startswith("]", self._at):
            self._fail("']'")
        self._at += 1
        return found

    def _value(self) -> str:
        if self._text.startswith(('"', "`"), self._at):
            return self._quoted()
        # A bare value may look like a selector, and then is its text.
        bare = self._selector()
        if bare:
            return ".".join(bare)
        number = self._take(_NUMBER)
        if not number:
            self._fail("a number" if _LIKE_NUMBER.match(self._text, self._at) else "a value")
        return number

    def _quoted(self) -> str:
        quote = self._text[self._at]
        end = self._text.find(quote, self._at + 1)
        if end < 0:
            self._fail(f"a text that ends in {quote}")
        found = unquote(self._text[self._at : end + 1])
        if found is None:
            self._fail('a text with Go\'s escapes ("\\n", "\\\\", "\\u00e9"; no quote within)')
        self._at = end + 1
        return found

    def _operator(self, among: Sequence[tuple[re.Pattern[str], Operator]]) -> Operator | None:
        return next((operator for pattern, operator in among if self._take(pattern)), None)

    def _take(self, pattern: re.Pattern[str]) -> str:
        found = pattern.match(self._text, self._at)
        if not found:
            return ""
        self._at = found.end()
        return found[0]

    def _space(self) -> None:
        self._take(_SPACE)

    def _want(self, at: int, what: str) -> None:
        if at > self._furthest:
            self._furthest, self._wanted = at, []
        if at == self._furthest:
            self._wanted.append(what)

    def _fail(self, what: str) -> NoReturn:
        self._want(self._at, what)
        raise _FailureError

    def enter(self) -> None:
        """Go one level deeper."""
        if self._depth == MAX_DEPTH:
            self._fail(f"no more than {MAX_DEPTH} levels of parentheses and negations")
        self._depth += 1

    def leave(self) -> None:
        """Come back."""
        self._depth -= 1


class _Deeper:
    """A level of parentheses or negations: the reader recurses, and its stack has an end."""

    def __init__(self, reader: _Reader) -> None:
        self._reader = reader

    def __enter__(self) -> None:
        self._reader.enter()

    def __exit__(self, *_: object) -> None:
        self._reader.leave()
