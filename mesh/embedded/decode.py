"""Reading request bodies as Consul does: keys in any case, with or without underscores.

Clients write ``DeregisterCriticalServiceAfter``, ``deregister_critical_service_after`` and
``name``; Consul takes them all, and ignores what it does not know.  A :class:`Body` is one
JSON object read that way; a value of the wrong type is refused by name.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import Any, TypeVar

import msgspec

from mesh.embedded import durations
from mesh.embedded.errors import RefusedError

T = TypeVar("T")


def fold(key: str) -> str:
    """Return what all spellings of ``key`` have in common."""
    return key.replace("_", "").lower()


def json(raw: bytes, *, what: str = "Request decode failed") -> Any:
    """Parse ``raw``.

    Raises:
        RefusedError: with status 400, when it is not JSON.

    """
    try:
        return msgspec.json.decode(raw)
    except ValueError as error:
        raise RefusedError(f"{what}: {error}", HTTPStatus.BAD_REQUEST) from error


class Body:
    """One JSON object, asked for its fields by their canonical names."""

    def __init__(self, raw: object, path: str = "") -> None:
        """``path`` is where the object stands, for messages."""
        if raw is None:
            raw = {}
        if not isinstance(raw, dict):
            raise _wrong(path, raw, "object")
        self._path = path
        self._fields = {fold(key): value for key, value in raw.items()}

    def __contains__(self, name: str) -> bool:
        """Whether the field is there and not null."""
        return self._fields.get(fold(name)) is not None

    def _get(self, name: str, kind: type[T], default: T) -> T:
        value = self._fields.get(fold(name))
        if value is None:
            return default
        if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
            raise _wrong(f"{self._path}.{name}", value, kind.__name__)
        return value

    def text(self, name: str, default: str = "") -> str:
        """Read a string."""
        return self._get(name, str, default)

    def number(self, name: str, default: int = 0) -> int:
        """Read an integer."""
        return self._get(name, int, default)

    def flag(self, name: str) -> bool:
        """Read a boolean."""
        return self._get(name, bool, default=False)

    def items(self, name: str) -> list[Any]:
        """Read a list of anything."""
        return self._get(name, list, [])

    def texts(self, name: str) -> list[str] | None:
        """Read a list of strings, or None where there is none."""
        if name not in self:
            return None
        return self._typed(name, list[str])

    def table(self, name: str) -> dict[str, str] | None:
        """Read an object of strings, or None where there is none."""
        if name not in self:
            return None
        return self._typed(name, dict[str, str])

    def any(self, name: str) -> Any:
        """Read whatever is there, as it is."""
        return self._fields.get(fold(name))

    def numbers(self, name: str) -> dict[str, int] | None:
        """Read an object of integers, or None where there is none."""
        return self._typed(name, dict[str, int]) if name in self else None

    def lists(self, name: str) -> dict[str, list[str]]:
        """Read an object of lists of strings."""
        return self._typed(name, dict[str, list[str]]) if name in self else {}

    def body(self, name: str) -> Body:
        """Read an object."""
        return Body(self._fields.get(fold(name)), f"{self._path}.{name}")

    def bodies(self, name: str) -> list[Body]:
        """Read a list of objects."""
        return [Body(item, f"{self._path}.{name}") for item in self.items(name)]

    def seconds(self, name: str) -> float:
        """Read a duration."""
        try:
            return durations.read(self._fields.get(fold(name)))
        except durations.InvalidDurationError as error:
            raise RefusedError(f"Request decode failed: {error}", HTTPStatus.BAD_REQUEST) from error

    def _typed(self, name: str, kind: type[T]) -> T:
        value = self._fields[fold(name)]
        try:
            return msgspec.convert(value, kind)
        except msgspec.ValidationError as error:
            raise RefusedError(
                f"Request decode failed: {self._path}.{name}: {error}", HTTPStatus.BAD_REQUEST
            ) from error


def _wrong(path: str, value: object, kind: str) -> RefusedError:
    names = {dict: "object", list: "array", str: "string", bool: "bool"}
    found = names.get(type(value), "number")
    return RefusedError(
        f"Request decode failed: json: cannot unmarshal {found} into field {path} of type {kind}",
        HTTPStatus.BAD_REQUEST,
    )


def canonical(raw: dict[str, Any], names: tuple[str, ...]) -> dict[str, Any]:
    """Return ``raw`` with the keys that are spellings of ``names`` written as there."""
    known = {fold(name): name for name in names}
    return {known.get(fold(key), key): value for key, value in raw.items()}
