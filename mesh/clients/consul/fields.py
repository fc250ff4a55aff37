"""Reading Consul's JSON strictly: typed access that notes what is wrong and goes on.

Consul writes field names in CamelCase and accepts snake_case and any case; so does this.
Whatever nobody asked for by the end is unknown, and a violation: what the mesh does not
understand it must not half-apply.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from mesh.model.names import WILDCARD, InvalidNameError, service_name
from mesh.model.violations import Report

_UNITS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
_PART = r"(\d+(?:\.\d*)?|\.\d+)(ns|us|µs|ms|s|m|h)"
_DURATION = re.compile(rf"(?:{_PART})+")
_EACH = re.compile(_PART)

_MISSING = object()


def _folded(name: str) -> str:
    return name.replace("_", "").lower()


class Fields:
    """One JSON object at ``path`` of a document; violations go to ``report``."""

    def __init__(self, raw: object, path: str, report: Report) -> None:
        """Anything but an object is one violation and reads as an empty object."""
        self._report = report
        self._path = path
        self._asked: set[str] = set()
        self._names: dict[str, str] = {}
        self._values: dict[str, Any] = {}
        if not isinstance(raw, Mapping):
            report.add(path, "expected an object")
            return
        for name, value in raw.items():
            folded = _folded(str(name))
            if folded in self._values:
                self.wrong(str(name), f"is given twice, as {self._names[folded]} too")
            self._names[folded] = str(name)
            self._values[folded] = value

    def at(self, name: str) -> str:
        """Return the path of field ``name`` as a person would point at it."""
        return f"{self._path}.{name}" if self._path and name else self._path or name

    def wrong(self, name: str, message: str) -> None:
        """Note a violation at field ``name`` (empty: at the object itself)."""
        self._report.add(self.at(name), message)

    def raw(self, name: str) -> Any:
        """Return the field as it stands, None where it is absent or null."""
        value = self._take(name)
        return None if value is _MISSING else value

    def text(self, name: str, *, required: bool = False) -> str:
        """Return a string; absent, null and empty are the same."""
        found = self.raw(name)
        if not isinstance(found, str | None):
            self.wrong(name, "expected a string")
            return ""
        value = found or ""
        if required and not value:
            self.wrong(name, "is required")
        return value

    def name(self, name: str, *, wildcard: bool = False) -> str:
        """Return the name of a service, or ``*`` where a wildcard may stand."""
        value = self.text(name, required=True)
        if value and not (wildcard and value == WILDCARD):
            try:
                service_name(value)
            except InvalidNameError as error:
                self.wrong(name, str(error))
        return value

    def boolean(self, name: str) -> bool:
        """Return a boolean, False where it is absent."""
        value = self.raw(name)
        if not isinstance(value, bool | None):
            self.wrong(name, "expected true or false")
            return False
        return bool(value)

    def integer(self, name: str, default: int = 0) -> int:
        """Return a whole number of zero or more."""
        value = self.raw(name)
        if value is None:
            return default
        if isinstance(value, bool) or not isinstance(value, int) or value < 0:
            self.wrong(name, "expected a whole number, zero or more")
            return default
        return value

    def seconds(self, name: str, default: float) -> float:
        """Return a duration: Go's text (``1m30s``), or nanoseconds as Go marshals them."""
        value = self.raw(name)
        if value in (None, "", 0):
            return default
        if isinstance(value, int) and not isinstance(value, bool) and value > 0:
            return value / 1e9
        if not isinstance(value, str) or not _DURATION.fullmatch(value):
            self.wrong(name, "expected a duration such as 30s or 1m30s")
            return default
        return sum(float(count) * _UNITS[unit] for count, unit in _EACH.findall(value))

    def texts(self, name: str) -> tuple[str, ...]:
        """Return a list of non-empty strings."""
        found: list[str] = []
        for index, value in enumerate(self._list(name)):
            if isinstance(value, str) and value:
                found.append(value)
            else:
                self.wrong(f"{name}[{index}]", "expected a non-empty string")
        return tuple(found)

    def child(self, name: str) -> Fields | None:
        """Return the object at ``name``, None where it is absent or null."""
        value = self.raw(name)
        return None if value is None else Fields(value, self.at(name), self._report)

    def children(self, name: str) -> Iterator[Fields]:
        """Yield the objects of the list at ``name``."""
        for index, value in enumerate(self._list(name)):
            yield Fields(value, self.at(f"{name}[{index}]"), self._report)

    def choice(self, name: str, allowed: Iterable[str], default: str) -> str:
        """Return one of ``allowed``, in lower case; ``default`` where it is absent or empty."""
        value = self.text(name).lower() or default
        allowed = tuple(allowed)
        if value not in allowed:
            self.wrong(name, f"{value!r} is not one of {', '.join(filter(None, allowed))}")
            return default
        return value

    def skip(self, names: Iterable[str]) -> None:
        """Accept fields that Consul knows and the mesh has no use for."""
        self._asked.update(_folded(name) for name in names)

    def close(self) -> None:
        """Note every field that nobody asked for."""
        for folded in sorted(self._values.keys() - self._asked):
            self.wrong(self._names[folded], "unknown field")

    def _take(self, name: str) -> Any:
        folded = _folded(name)
        self._asked.add(folded)
        return self._values.get(folded, _MISSING)

    def _list(self, name: str) -> list[Any]:
        value = self.raw(name)
        if value is None:
            return []
        if not isinstance(value, list | tuple):
            self.wrong(name, "expected a list")
            return []
        return list(value)
