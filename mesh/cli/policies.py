"""What the commands about policies share: files in, names, and documents as people read them."""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from mesh.cli.arguments import refused
from mesh.cli.documents import Place, load
from mesh.model.violations import InvalidInputError, Violation
from mesh.policies.document import Document, other_mesh, parse
from mesh.policies.kind import Kind
from mesh.policies.registry import KINDS

FileOption = Annotated[
    list[Path],
    typer.Option(
        "--file",
        "-f",
        metavar="FILE",
        help="YAML or JSON of one or more documents; a directory of them; - is stdin.  Repeatable.",
    ),
]
"""The option ``-f``."""
KIND_HELP: Final = "Kind of policy, in any case, with or without Mesh: timeout."
CAN_READ: Final = (
    "Consul ACL rules that it takes: read for "
    'key_prefix "mesh/policies/", key_prefix "mesh/policy-history/" and '
    'key_prefix "mesh/mirror/policies/".'
)
CAN_WRITE: Final = (
    "Consul ACL rules that it takes: write for "
    'key_prefix "mesh/policies/" and key_prefix "mesh/policy-history/"; '
    'read for key_prefix "mesh/mirror/policies/", where those of the primary zone stand, and '
    'for service_prefix "", to hold policies against configuration entries.'
)

_COMMON: Final = "mesh"
_INTENTIONS: Final = "service-intentions"


@dataclass(frozen=True, slots=True)
class Given:
    """A valid document, and where it stands."""

    place: Place
    document: Document


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing wrong with one document; ``label`` is empty where it has no name."""

    place: Place
    label: str
    violation: Violation

    @property
    def as_violation(self) -> Violation:
        """The same, with file and document in its path."""
        path = ": ".join(filter(None, (str(self.place), self.label, self.violation.path)))
        return Violation(path, self.violation.message)


@dataclass(frozen=True, slots=True)
class Reading:
    """What files hold: the valid documents, and all that is wrong with the others."""

    given: tuple[Given, ...]
    faults: tuple[Fault, ...]


def read(files: Iterable[Path], kinds: Mapping[str, Kind] = KINDS) -> Reading:
    """Read every document of ``files``, and what is wrong with each by itself.

    Raises:
        InvalidInputError: a file cannot be opened.

    """
    given: list[Given] = []
    faults: list[Fault] = []
    for loaded in load(files):
        label = _label(loaded.value)
        if loaded.wrong:
            faults.append(Fault(loaded.place, label, Violation("", loaded.wrong)))
            continue
        try:
            _refuse_other_languages(loaded.value)
            document = parse(loaded.value, kinds)
            _refuse_other_meshes(document)
        except InvalidInputError as error:
            faults += (Fault(loaded.place, label, each) for each in error.violations)
        else:
            given.append(Given(loaded.place, document))
    faults += faults_of(given, _repeated(given))
    return Reading(tuple(given), tuple(faults))


def read_valid(files: Iterable[Path]) -> tuple[Given, ...]:
    """Read documents that must all be valid.

    Raises:
        InvalidInputError: with every violation of every document.

    """
    reading = read(files)
    refuse(reading.faults)
    return reading.given


def refuse(faults: Sequence[Fault]) -> None:
    """Raise InvalidInputError if there are any."""
    if faults:
        raise InvalidInputError("the input", tuple(each.as_violation for each in faults))


def faults_of(given: Sequence[Given], found: Iterable[tuple[str, Violation]]) -> list[Fault]:
    """Return violations as faults, at the place of their document if it was given."""
    places = {each.document.label: each.place for each in given}
    return [Fault(places.get(label, Place("Consul")), label, each) for label, each in found]


def resolve(word: str, known: Iterable[str]) -> str:
    """Return the kind that ``word`` means, one of ``known``.

    Raises:
        InvalidInputError: there is no such kind.

    """
    known = sorted(set(known))
    for kind in known:
        if word.casefold() in {kind.casefold(), kind.casefold().removeprefix(_COMMON)}:
            return kind
    raise refused(f"the kind {word!r}", f"is not one of {', '.join(known)}{_meant(word, known)}")


def readable(document: Mapping[str, Any]) -> dict[str, Any]:
    """Return a document with what names it first."""
    named = {key: document[key] for key in ("type", "name", "mesh") if key in document}
    return {**named, **document}


def _repeated(given: Iterable[Given]) -> Iterator[tuple[str, Violation]]:
    for label, count in Counter(each.document.label for each in given).items():
        if count > 1:
            yield label, Violation("name", f"is given {count} times")


def _meant(word: str, known: Iterable[str]) -> str:
    names = {short: kind for kind in known for short in (kind, kind.removeprefix(_COMMON))}
    folded = {name.casefold(): kind for name, kind in names.items()}
    near = difflib.get_close_matches(word.casefold(), folded, 1)
    return f"; did you mean {folded[near[0]]}?" if near else ""


def _label(raw: object) -> str:
    if not isinstance(raw, Mapping):
        return ""
    words = (raw.get("type"), raw.get("name"))
    return " ".join(word for word in words if isinstance(word, str))


def _refuse_other_languages(raw: object) -> None:
    if not isinstance(raw, Mapping) or "type" in raw:
        return
    entry = raw.get("Kind")
    if entry == _INTENTIONS:
        wrong = f"{entry} is Consul's: apply it with `mesh intention apply`"
    elif entry is not None:
        wrong = f"{entry} is a configuration entry: write it with `consul config write`"
    elif "apiVersion" in raw:
        wrong = "is in the form of Kubernetes: give type, name and spec at the top"
    else:
        return
    raise InvalidInputError("", (Violation("Kind" if entry is not None else "", wrong),))


def _refuse_other_meshes(document: Document) -> None:
    if (stray := other_mesh(document)) is not None:
        raise InvalidInputError("", (stray,))
