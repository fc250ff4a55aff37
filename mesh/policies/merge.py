"""What several policies say together: the specific over the general, field by field.

Policies are ordered by how particularly they choose their proxies, then by how particularly
they name what is called; between equals the name that sorts first wins.  Their ``default``s
are merged as JSON Merge Patch does (RFC 7396): objects field by field, anything else as a whole.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from mesh.policies.document import Document
from mesh.policies.shape import Strict
from mesh.policies.spec import To

C = TypeVar("C", bound=Strict)


@dataclass(frozen=True, slots=True)
class Merged(Generic[C]):
    """What holds.  ``origins`` tells for each field (dotted path) which document said it."""

    conf: C
    origins: Mapping[str, str]
    losers: tuple[tuple[str, str], ...] = ()
    """Pairs of field and document: what was said and does not hold."""


def in_order(documents: Iterable[Document]) -> tuple[Document, ...]:
    """Sort from the general to the specific; what comes later holds."""
    by_name = sorted(documents, key=lambda one: one.name, reverse=True)
    return tuple(sorted(by_name, key=lambda one: one.spec.target_ref.specificity))


def outbound(
    documents: Sequence[Document], service: str, *, route: str = ""
) -> list[tuple[Document, Any]]:
    """Return what ``documents`` (of one kind, in order) say of calls to ``service``.

    ``route`` is the name of the MeshHTTPRoute that the calls take.  The general comes first.
    """
    said = [
        (document, to)
        for document in documents
        for to in _to(document)
        if to.target_ref.covers(service, route)
    ]
    said.sort(key=lambda one: (one[0].spec.target_ref.specificity, one[1].target_ref.specificity))
    return [(document, to.default) for document, to in said]


def merge(model: type[C], said: Sequence[tuple[Document, C]]) -> Merged[C] | None:
    """Merge what was ``said`` (the general first); None if nothing was."""
    if not said:
        return None
    origins: dict[str, str] = {}
    losers: list[tuple[str, str]] = []
    for document, conf in said:
        raw = conf.model_dump(mode="python", by_alias=True, exclude_unset=True)
        _note(raw, "", document.label, origins, losers)
    if len(said) == 1:
        return Merged(said[0][1], origins)
    # Validated before, each of them: only what they are together is new.
    return Merged(_rebuilt(model, [conf for _, conf in said]), origins, tuple(losers))


def _rebuilt(model: type[C], confs: Sequence[C]) -> C:
    """Merge models without reading text again: durations are seconds by now."""
    merged = confs[0]
    for conf in confs[1:]:
        merged = _over(merged, conf)
    if not isinstance(merged, model):
        raise TypeError(f"{merged!r} is no {model.__name__}")
    return merged


def _over(general: C, specific: C) -> C:
    update: dict[str, Any] = {}
    for name in specific.model_fields_set:
        value, before = getattr(specific, name), getattr(general, name)
        both = isinstance(value, Strict) and isinstance(before, Strict)
        update[name] = _over(before, value) if both and type(value) is type(before) else value
    return general.model_copy(update=update)


def _note(
    raw: Mapping[str, Any],
    path: str,
    label: str,
    origins: dict[str, str],
    losers: list[tuple[str, str]],
) -> None:
    for key, value in raw.items():
        place = f"{path}{key}"
        if isinstance(value, Mapping):
            _note(value, f"{place}.", label, origins, losers)
            continue
        if place in origins:
            losers.append((place, origins[place]))
        origins[place] = label


def _to(document: Document) -> tuple[To[Any], ...]:
    return tuple(getattr(document.spec, "to", ()))
