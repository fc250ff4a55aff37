"""A policy document, read strictly: every violation at once, with its path.

The shape is Kuma 3.0's: a top-level ``targetRef`` selects proxies, ``to`` says how they treat
what they call, ``rules`` how they treat those who call them.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from pydantic import ValidationError

from mesh.model.names import InvalidNameError, service_name
from mesh.model.violations import InvalidInputError, Report, Violation
from mesh.policies.spec import Spec

if TYPE_CHECKING:
    from mesh.policies.kind import Kind

DEFAULT_MESH: Final = "default"

_MESSAGES: Final = {
    "extra_forbidden": "unknown field",
    "missing": "is required",
    "union_tag_not_found": "needs a type",
    "string_type": "must be text",
    "int_type": "must be a whole number",
    "int_from_float": "must be a whole number",
    "float_type": "must be a number",
    "bool_type": "must be true or false",
    "list_type": "must be a list",
    "tuple_type": "must be a list",
    "dict_type": "must be an object",
    "model_type": "must be an object",
    "model_attributes_type": "must be an object",
}
"""What pydantic's errors are called here, by their type."""


@dataclass(frozen=True, slots=True)
class Document:
    """One policy as it was applied.  Documents are equal if they say the same."""

    kind: str
    name: str
    mesh: str
    text: str
    """The whole document as canonical JSON."""
    spec: Spec = field(compare=False, repr=False)
    version: int = field(default=0, compare=False)
    """How often a document of this kind and name was applied; 0 before it was stored."""

    @property
    def key(self) -> tuple[str, str]:
        """What no two policies of a mesh share."""
        return (self.kind, self.name)

    @property
    def label(self) -> str:
        """How people name it: ``MeshTimeout slow``."""
        return f"{self.kind} {self.name}"

    @property
    def raw(self) -> dict[str, Any]:
        """The document as JSON, a fresh copy."""
        found: dict[str, Any] = json.loads(self.text)
        return found


def parse(raw: object, kinds: Mapping[str, Kind], *, version: int = 0) -> Document:
    """Read one document (YAML or JSON, already decoded).

    Raises:
        InvalidInputError: with every violation.

    """
    if not isinstance(raw, Mapping):
        wrong = Violation("", "expected an object with type, name and spec")
        raise InvalidInputError("policy", (wrong,))
    kind_name, name = raw.get("type"), raw.get("name")
    report = Report(f"{kind_name or 'policy'} {name or ''}".strip())
    for key in sorted(map(str, raw.keys() - {"type", "name", "mesh", "spec"})):
        report.add(key, "unknown field")
    _check_head(report, raw, kinds)
    kind = kinds.get(kind_name) if isinstance(kind_name, str) else None
    spec: Spec | None = None
    if kind is not None:
        spec = _spec(report, kind, raw.get("spec", {}))
    report.close()
    if spec is None or kind is None:
        raise AssertionError("a document without a spec has violations")
    mesh = str(raw.get("mesh", DEFAULT_MESH))
    text = json.dumps(
        {"type": kind.name, "name": name, "mesh": mesh, "spec": raw.get("spec", {})},
        sort_keys=True,
        separators=(",", ":"),
        ensure_ascii=False,
        # What YAML knows beyond JSON, such as dates.
        default=str,
    )
    spec = kind.named(spec, f"{mesh}/{name}")
    return Document(kind.name, str(name), mesh, text, spec, version)


def other_mesh(document: Document) -> Violation | None:
    """Return what is wrong with a document of a mesh that is not the one there is.

    It would be stored and have no effect.
    """
    if document.mesh == DEFAULT_MESH:
        return None
    wrong = f"{document.mesh!r} is no mesh here: leave it out, or write {DEFAULT_MESH}"
    return Violation("mesh", wrong)


def _check_head(report: Report, raw: Mapping[Any, Any], kinds: Mapping[str, Kind]) -> None:
    kind = raw.get("type")
    if not isinstance(kind, str) or not kind:
        report.add("type", "is required: the kind of policy, such as MeshTimeout")
    elif kind not in kinds:
        near = difflib.get_close_matches(kind.casefold(), {each.casefold() for each in kinds}, 1)
        meant = [f"; did you mean {each}?" for each in kinds if each.casefold() in near]
        report.add("type", f"{kind!r} is not one of {', '.join(sorted(kinds))}{''.join(meant)}")
    for key, value in (("name", raw.get("name")), ("mesh", raw.get("mesh", DEFAULT_MESH))):
        if not isinstance(value, str):
            report.add(key, "is required" if value is None else "expected text")
            continue
        try:
            service_name(value)
        except InvalidNameError:
            report.add(key, f"{value!r}: use 1 to 64 letters, digits, '-' or '_'")


def _spec(report: Report, kind: Kind, raw: object) -> Spec | None:
    try:
        # JSON text, so that a number in a list and in a tuple are the same to a strict model.
        spec = kind.spec.model_validate_json(json.dumps(raw, default=str))
    except ValidationError as error:
        found = error.errors(include_url=False, include_context=False, include_input=False)
        for each in found:
            place = each["loc"]
            if each["type"] == "too_short" and any(_inside(one["loc"], place) for one in found):
                continue  # A list seems too short when its items are wrong: those are reported.
            message = _message(each["type"], each["msg"])
            if place == ("from",):
                message += "; what holds for callers stands in `rules`"
            report.add(_path(place, raw), message)
        return None
    for path, message in kind.check(spec):
        report.add(f"spec.{path}" if path else "spec", message)
    return spec


def _inside(place: tuple[int | str, ...], outer: tuple[int | str, ...]) -> bool:
    return len(place) > len(outer) and place[: len(outer)] == outer


def _path(places: Iterable[int | str], raw: object) -> str:
    """Write where something is wrong as a person would point at it.

    Where a part is one of several kinds, pydantic's place names the chosen ``type`` as well.
    """
    path, here = "spec", raw
    for place in places:
        if isinstance(place, int):
            path += f"[{place}]"
            here = here[place] if isinstance(here, list) and place < len(here) else None
            continue
        if isinstance(here, Mapping):
            if here.get("type") == place and place not in here:
                continue
            here = here.get(place)
        path += f".{place}"
    return path


def _message(kind: str, message: str) -> str:
    if kind in _MESSAGES:
        return _MESSAGES[kind]
    if kind == "union_tag_invalid":
        return f"type is not one of {message.partition('expected tags: ')[2]}"
    message = message.removeprefix("Value error, ").removeprefix("Assertion failed, ")
    return message.replace("Input should be", "must be", 1)
