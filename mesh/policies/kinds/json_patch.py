"""JSON Patch (RFC 6902) over JSON Pointer (RFC 6901), on values as ``json`` reads them.

A patch is applied as a whole or not at all; what it is applied to is never changed.
"""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

Pointer = tuple[str, ...]
"""The names from the outside in; empty means the whole document."""

_BAD_ESCAPE: Final = re.compile(r"~(?![01])")
_INDEX: Final = re.compile(r"0|[1-9][0-9]{0,8}")
_END: Final = "-"


class JsonPatchError(ValueError):
    """A patch does not fit the document; the message says which operation and why."""


@dataclass(frozen=True, slots=True)
class Edit:
    """One operation.  ``value`` is JSON text (``add``, ``replace``, ``test``)."""

    op: str
    path: Pointer
    value: str = "null"
    source: Pointer = ()
    """``from`` (``move``, ``copy``)."""


def parse_pointer(text: str) -> Pointer:
    """Read a JSON Pointer.

    Raises:
        ValueError: it does not begin with ``/``, or has a ``~`` that escapes nothing.

    """
    if not text:
        return ()
    if not text.startswith("/"):
        raise ValueError(f"{text!r} must be empty or start with '/'")
    if _BAD_ESCAPE.search(text):
        raise ValueError(f"{text!r} has a '~' that is neither '~0' nor '~1'")
    # In this order: "~01" is "~1".
    return tuple(part.replace("~1", "/").replace("~0", "~") for part in text[1:].split("/"))


def pointer_text(pointer: Pointer) -> str:
    """Write a JSON Pointer."""
    return "".join("/" + part.replace("~", "~0").replace("/", "~1") for part in pointer)


def patched(edits: Sequence[Edit], document: Any) -> Any:
    """Return what ``edits``, one after the other, make of ``document``.

    Raises:
        JsonPatchError: one of them cannot be done, or a ``test`` fails.

    """
    result = copy.deepcopy(document)
    for index, edit in enumerate(edits):
        try:
            result = _done(edit, result)
        except JsonPatchError as error:
            what = f"jsonPatches[{index}] ({edit.op} {pointer_text(edit.path) or 'everything'})"
            raise JsonPatchError(f"{what}: {error}") from error
    return result


def _done(edit: Edit, document: Any) -> Any:
    match edit.op:
        case "add":
            return _add(document, edit.path, json.loads(edit.value))
        case "remove":
            return _remove(document, edit.path)
        case "replace":
            _get(document, edit.path)
            return _add(_remove(document, edit.path), edit.path, json.loads(edit.value))
        case "move":
            if edit.path[: len(edit.source)] == edit.source and edit.path != edit.source:
                raise JsonPatchError("a value cannot move into itself")
            value = _get(document, edit.source)
            return _add(_remove(document, edit.source), edit.path, value)
        case "copy":
            return _add(document, edit.path, copy.deepcopy(_get(document, edit.source)))
        case "test":
            if not _same(_get(document, edit.path), json.loads(edit.value)):
                raise JsonPatchError(f"the value is not {edit.value}")
            return document
        case _:
            raise JsonPatchError(f"{edit.op!r} is no operation")


def _get(document: Any, pointer: Pointer) -> Any:
    here = document
    for depth, part in enumerate(pointer):
        place = pointer_text(pointer[: depth + 1])
        if isinstance(here, list):
            here = here[_index(part, len(here) - 1, place)]
        elif isinstance(here, dict) and part in here:
            here = here[part]
        else:
            raise JsonPatchError(f"{place} does not exist")
    return here


def _add(document: Any, pointer: Pointer, value: Any) -> Any:
    if not pointer:
        return value
    parent, last = _get(document, pointer[:-1]), pointer[-1]
    if isinstance(parent, list):
        place = pointer_text(pointer)
        parent.insert(len(parent) if last == _END else _index(last, len(parent), place), value)
    elif isinstance(parent, dict):
        parent[last] = value
    else:
        raise JsonPatchError(f"{pointer_text(pointer[:-1])} is neither an object nor a list")
    return document


def _remove(document: Any, pointer: Pointer) -> Any:
    _get(document, pointer)
    if not pointer:
        return None
    parent, last = _get(document, pointer[:-1]), pointer[-1]
    del parent[int(last) if isinstance(parent, list) else last]
    return document


def _index(part: str, most: int, place: str) -> int:
    if not _INDEX.fullmatch(part):
        raise JsonPatchError(f"{place}: {part!r} is no index of a list")
    if int(part) > most:
        raise JsonPatchError(f"{place} does not exist")
    return int(part)


def _same(left: Any, right: Any) -> bool:
    """Whether two values are the same JSON: 1 is 1.0, but neither true nor "1"."""
    if isinstance(left, dict) and isinstance(right, dict):
        return left.keys() == right.keys() and all(_same(left[key], right[key]) for key in left)
    if isinstance(left, list) and isinstance(right, list):
        return len(left) == len(right) and all(map(_same, left, right))
    return isinstance(left, bool) is isinstance(right, bool) and bool(left == right)
