"""``docs/reference/consul-entries.md``: which fields of Consul's entries have effect.

It is found out from the readers themselves.  A field has effect if the entry reads otherwise
without it, has none if it reads the same, and is refused if the entry is invalid with it.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator, Mapping
from typing import Any, Final

from mesh.model.violations import InvalidInputError
from mesh.sources.consul.entries import UNUSED_KINDS
from tests.docs.consul_samples import SAMPLED
from tests.docs.consul_samples.sampled import Json, Sampled
from tests.docs.markdown import code, table

USED: Final = "yes"
UNUSED: Final = "no effect"
REFUSED: Final = "refused"

_INTRODUCTION: Final = """\
# Consul's configuration entries

What the mesh makes of each field that Consul's own reference describes: its meaning is the one
given there. The table is made by reading entries with and without each field.

- **yes**: it has effect.
- **no effect**: accepted, and nothing comes of it. An object stands for all below it.
- **refused**: an entry that says this, or something like it, is malformed as a whole. Its last
  good version stands, and `mesh check` names every violation. One that never was good is left out;
  but a `service-intentions` denies every call to its service, and of a `service-defaults` the
  protocol counts.

A field that is not listed is refused as unknown, in every kind; names are read in `CamelCase` and
`snake_case`. `Namespace` and `Partition` may say `default` and nothing else, for anything else is
Consul Enterprise's. `Meta`, `Hash` and the indexes have no effect.

Entries that are valid one by one can contradict each other: a splitter over a service that speaks
tcp, a subset that no resolver defines, redirects in a circle, protocols that differ within a chain.
Consul refuses most of these when they are written; where one slips through, calls go on as they
last could be routed, and `mesh check` names what is wrong.

"""
_MAPS: Final = frozenset({"Subsets", "Failover"})
_LEAVES: Final = frozenset({"Add", "Set"})
_HEAD: Final = ("Kind", "Name")


def page() -> str:
    """Return the page."""
    parts = [_INTRODUCTION.rstrip("\n") + "\n"]
    for each in SAMPLED:
        rows = [
            (code(path), what, each.notes.get(path, ""))
            for path, what in sorted(fields(each).items())
        ]
        rows += [
            (code(_written(path)), f"{REFUSED}: {code(_value(value))}", reason(each, path, value))
            for path, value in each.refused.items()
        ]
        parts.append(f"## {each.kind}\n\n" + table(("Field", "Used", "Note"), rows))
    names = ", ".join(code(name) for name in sorted(UNUSED_KINDS))
    parts.append(
        f"## Other kinds\n\nNo effect: {names}. A kind that neither Consul nor the mesh knows is "
        "left out, and `mesh check` names it.\n"
    )
    return "\n".join(parts)


def fields(sampled: Sampled) -> dict[str, str]:
    """Return every field of the samples, by path, and whether it has effect."""
    found: dict[str, str] = {}
    for sample in sampled.samples:
        whole = sampled.parse(sample)
        for path, used in _fields(sampled, sample, whole, ()):
            found[path] = USED if used or found.get(path) == USED else UNUSED
    return found


def reason(sampled: Sampled, path: tuple[str | int, ...], value: Any) -> str:
    """Return what is said of ``value`` at ``path``.

    Raises:
        AssertionError: it is accepted.

    """
    sample = copy.deepcopy(sampled.samples[0])
    here: Any = sample
    for step in path[:-1]:
        here = here[step]
    here[path[-1]] = value
    try:
        sampled.parse(sample)
    except InvalidInputError as error:
        near = [each for each in error.violations if str(path[-1]) in each.path]
        return (near or error.violations)[0].message
    raise AssertionError(f"{sampled.kind} {_written(path)} is accepted")


def _fields(
    sampled: Sampled, sample: Json, whole: object, at: tuple[str | int, ...]
) -> Iterator[tuple[str, bool]]:
    here = _found(sample, at)
    for key in list(here) if isinstance(here, Mapping) else range(len(here)):
        path = (*at, key)
        if len(path) == 1 and key in _HEAD:
            continue
        below = _found(sample, path)
        nested = _is_nested(below) and key not in _LEAVES
        if isinstance(key, str) and not (at and at[-1] in _MAPS):
            used = _changes(sampled, sample, whole, path)
            if not nested or not used:
                yield _written(path), used
                continue
        if nested:
            yield from _fields(sampled, sample, whole, path)


def _is_nested(value: object) -> bool:
    if isinstance(value, list):
        return any(isinstance(each, Mapping) for each in value)
    return isinstance(value, Mapping)


def _changes(sampled: Sampled, sample: Json, whole: object, path: tuple[str | int, ...]) -> bool:
    without = copy.deepcopy(sample)
    del _found(without, path[:-1])[path[-1]]
    try:
        return sampled.parse(without) != whole
    except InvalidInputError:
        return True


def _found(sample: Any, path: tuple[str | int, ...]) -> Any:
    for step in path:
        sample = sample[step]
    return sample


def _written(path: tuple[str | int, ...]) -> str:
    text = ""
    for index, step in enumerate(path):
        if isinstance(step, int):
            text += "[]"
        elif index and path[index - 1] in _MAPS:
            text += ".*"
        else:
            text += f".{step}" if text else step
    return text


def _value(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)
