"""Rows of a table from a JSON schema: every field below it, with its path."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

from tests.docs.markdown import code

HEAD: Final = ("Field", "Type", "Default", "Meaning")
_NAMES: Final = {
    "string": "text",
    "integer": "whole number",
    "number": "number",
    "boolean": "true or false",
    "object": "object",
    "duration": "duration",
}
_BOUNDS: Final = (("minimum", "ge"), ("maximum", "le"))
_LARGEST: Final = 2**31 - 1


@dataclass(frozen=True, slots=True)
class Row:
    """One field.  ``kinds`` are what it may be."""

    path: str
    kinds: tuple[str, ...]
    default: str
    meaning: str

    @property
    def cells(self) -> tuple[str, ...]:
        """The row as the table has it."""
        return code(self.path), " or ".join(self.kinds), self.default, self.meaning


@dataclass(frozen=True, slots=True)
class Schema:
    """A JSON schema with its definitions; ``skipped`` are definitions explained elsewhere."""

    root: Mapping[str, Any]
    skipped: Collection[str] = ()
    names: Mapping[str, Any] = field(init=False)

    def __post_init__(self) -> None:
        """Find the definitions."""
        object.__setattr__(self, "names", self.root.get("$defs", {}))

    def rows(self, *, without: Collection[str] = ()) -> list[Row]:
        """Return a row for every field, those of alternatives merged, but for ``without``."""
        found: dict[str, Row] = {}
        for row in self._below(self.root, "", ()):
            if any(row.path == each or row.path.startswith(f"{each}.") for each in without):
                continue
            known = found.get(row.path)
            kinds = tuple(dict.fromkeys((*known.kinds, *row.kinds))) if known else row.kinds
            found[row.path] = replace(known or row, kinds=kinds)
        return list(found.values())

    def _below(self, node: Any, path: str, inside: tuple[str, ...]) -> Iterator[Row]:
        alternatives = self._alternatives(node)
        for each in alternatives:
            name = str(each.get("$ref", "")).rpartition("/")[2]
            if name in self.skipped or name in inside:
                continue
            whole = self.names[name] if name else each
            deeper = (*inside, name) if name else inside
            if "items" in whole:
                yield from self._below(whole["items"], f"{path}[]", deeper)
            for key, value in whole.get("properties", {}).items():
                place = f"{path}.{key}" if path else key
                required = "required" if key in whole.get("required", ()) else ""
                if required and len(alternatives) > 1 and "const" not in value:
                    required += f" with {only}" if (only := _constant(whole)) else ""
                yield self._row(value, place, required)
                yield from self._below(value, place, deeper)

    def _row(self, node: Any, path: str, required: str) -> Row:
        default = node.get("default")
        said = "" if default in (None, "", []) or isinstance(default, dict) else _written(default)
        return Row(
            path,
            tuple(dict.fromkeys(self._kinds(node))),
            required or said,
            self._meaning(node),
        )

    def _meaning(self, node: Any) -> str:
        text = node.get("description", "")
        for each in self._alternatives(node):
            name = str(each.get("$ref", "")).rpartition("/")[2]
            text = text or (self.names[name].get("description", "") if name else "")
        return " ".join(text.split("\n\n")[0].split()).replace("``", "`")

    def _alternatives(self, node: Any) -> list[Any]:
        several = node.get("anyOf") or node.get("oneOf")
        if not several:
            return [node]
        return [one for each in several for one in self._alternatives(each)]

    def _kinds(self, node: Any) -> Iterator[str]:
        for each in self._alternatives(node):
            name = str(each.get("$ref", "")).rpartition("/")[2]
            whole = self.names[name] if name else each
            if name in self.skipped:
                yield f"[{self.names[name]['title']}](#{self.names[name]['title'].lower()})"
            elif "const" in whole or "enum" in whole:
                yield ", ".join(_written(one) for one in whole.get("enum", [whole.get("const")]))
            elif whole.get("type") == "array":
                yield f"list of {' or '.join(dict.fromkeys(self._kinds(whole.get('items', {}))))}"
            elif whole.get("type") == "object" and "properties" not in whole:
                values = whole.get("additionalProperties")
                is_text = isinstance(values, dict) and values.get("type") == "string"
                yield "table of text" if is_text else "object"
            elif whole.get("type") != "null":
                yield _plain(whole)


def _plain(node: Mapping[str, Any]) -> str:
    kind = _NAMES.get(str(node.get("format") or node.get("type", "")), "anything")
    # A bound stands under its own name where a validator comes before it.
    least, most = (node.get(one, node.get(other)) for one, other in _BOUNDS)
    above = node.get("exclusiveMinimum", node.get("gt"))
    if above is not None:
        return f"{kind}, above {above:g}"
    if kind == _NAMES["duration"]:
        return f"{kind}, {least * 1000:g}ms or more" if least else kind
    if least is None:
        return kind
    if most in {None, _LARGEST}:
        return f"{kind}, {least:g} or more"
    return f"{kind}, {least:g}–{most:.10g}"


def _written(value: object) -> str:
    if isinstance(value, bool):
        return code(str(value).lower())
    return code(f"{value:g}" if isinstance(value, float) else str(value))


def _constant(model: Mapping[str, Any]) -> str:
    """Return what tells this model from its alternatives."""
    found = model.get("properties", {}).get("type", {}).get("const")
    return _written(found) if found else ""
