"""JSON Patch (RFC 6902), by the ``jsonpatch`` library, in a form that can be part of a key.

A patch is applied as a whole or not at all; what it is applied to is never changed.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import jsonpatch
import jsonpointer


class JsonPatchError(ValueError):
    """A patch does not fit the document; the message says which operation and why."""


@dataclass(frozen=True, slots=True)
class Edit:
    """One operation.  Paths are JSON Pointers (RFC 6901); ``value`` is JSON text."""

    op: str
    path: str
    value: str = "null"
    source: str = ""
    """``from`` (``move``, ``copy``)."""

    @property
    def operation(self) -> dict[str, Any]:
        """The operation as RFC 6902 writes it."""
        found = {"op": self.op, "path": self.path}
        if self.op in {"move", "copy"}:
            return {**found, "from": self.source}
        return found if self.op == "remove" else {**found, "value": json.loads(self.value)}


def check_pointer(text: str) -> None:
    """See that ``text`` is a JSON Pointer.

    Raises:
        ValueError: it is not.

    """
    try:
        jsonpointer.JsonPointer(text)
    except jsonpointer.JsonPointerException as error:
        raise ValueError(f"{text!r} is no JSON Pointer: {error}") from error


def patched(edits: Sequence[Edit], document: Any) -> Any:
    """Return what ``edits``, one after the other, make of ``document``.

    Raises:
        JsonPatchError: one of them cannot be done, or a ``test`` fails.

    """
    result = document
    for index, edit in enumerate(edits):
        try:
            result = jsonpatch.JsonPatch([edit.operation]).apply(result)
        # The library lets a TypeError escape where a path leads through a plain value.
        except (
            jsonpatch.JsonPatchException,
            jsonpointer.JsonPointerException,
            TypeError,
        ) as error:
            where = f"{edit.source} to {edit.path}" if edit.source else edit.path or "everything"
            what = f"jsonPatches[{index}] ({edit.op} {where})"
            raise JsonPatchError(f"{what}: {error}") from error
    return result
