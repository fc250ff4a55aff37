"""Documents of kind ``service-intentions``, from files to Consul in either dialect."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import yaml

from mesh.cli.facts import read_facts
from mesh.cli.intention_change import State
from mesh.clients.consul import ConsulAddress, ConsulClient, Dialect, Unsupported
from mesh.clients.consul.errors import Call
from mesh.clients.consul.intention_entries import KIND, parse_entry
from mesh.model.intentions import Intention
from mesh.model.violations import InvalidInputError, Report, Violation
from mesh.policies.intentions import validate_all

_STDIN: Final = Path("-")


@dataclass(frozen=True, slots=True)
class Entry:
    """One document: as it was written, and what it says."""

    destination: str
    raw: Mapping[str, Any]
    intentions: tuple[Intention, ...]


def read_documents(file: Path) -> list[Entry]:
    """Read a file of one or more documents.

    Raises:
        InvalidInputError: with every violation of every document.

    """
    name = "stdin" if file == _STDIN else str(file)
    report = Report(name)
    entries: list[Entry] = []
    for index, raw in enumerate(_load(file, report)):
        place = f"[{index}]"
        if not isinstance(raw, Mapping):
            report.add(place, "expected an object")
            continue
        try:
            entries.append(_entry(raw))
        except InvalidInputError as error:
            for violation in error.violations:
                report.add(f"{place}.{violation.path}".rstrip("."), violation.message)
    if not entries and not report.found:
        report.add("", "holds no document")
    report.close()
    return entries


async def apply_documents(
    address: ConsulAddress, entries: Sequence[Entry]
) -> list[tuple[str, State]]:
    """Write each entry in place of all that is said of its destination.

    Raises:
        ConsulError: Consul did not answer, or refused.

    """
    async with ConsulClient(address) as client:
        facts = await read_facts(client)
        if facts.dialect is Dialect.LEGACY:
            _refuse_what_legacy_lacks(client, entries)
        found = []
        for entry in entries:
            known = facts.world.intentions.get(entry.destination, ())
            state = _difference(known, entry.intentions)
            if state is not State.UNCHANGED:
                await _write(client, facts.dialect, entry, known)
            found.append((entry.destination, state))
        return found


async def _write(
    client: ConsulClient, dialect: Dialect, entry: Entry, known: Sequence[Intention]
) -> None:
    if dialect is Dialect.CONFIG_ENTRIES:
        await client.config_put(entry.raw)
        return
    kept = {intention.source for intention in entry.intentions}
    for intention in entry.intentions:
        await client.intentions.put(intention)
    for intention in known:
        if intention.source not in kept:
            await client.intentions.delete(intention.source, intention.destination)


def _refuse_what_legacy_lacks(client: ConsulClient, entries: Sequence[Entry]) -> None:
    # Before the first write, so that nothing is half-applied.
    call = Call("POST", "/v1/connect/intentions", client.address.url)
    for entry in entries:
        for intention in entry.intentions:
            if intention.permissions:
                feature = f"L7 permissions ({intention.label})"
                raise Unsupported(feature, "1.9", call)
            if intention.jwt:
                raise Unsupported(f"JWT requirements ({intention.label})", "1.16", call)


def _difference(known: Sequence[Intention], wanted: Sequence[Intention]) -> State:
    if not known:
        return State.CREATED
    same = {replace(each, id="") for each in known} == set(wanted)
    return State.UNCHANGED if same else State.CHANGED


def _entry(raw: Mapping[str, Any]) -> Entry:
    kind = raw.get("Kind", raw.get("kind"))
    if kind != KIND:
        raise InvalidInputError("", (Violation("Kind", f"must be {KIND}, is {kind!r}"),))
    intentions = parse_entry(raw)
    if not intentions:
        raise InvalidInputError("", (Violation("Sources", "must name at least one source"),))
    violations = validate_all(intentions)
    if violations:
        raise InvalidInputError("", violations)
    return Entry(intentions[0].destination, raw, intentions)


def _load(file: Path, report: Report) -> list[object]:
    try:
        text = sys.stdin.read() if file == _STDIN else file.read_text(encoding="utf-8")
        loaded = list(yaml.safe_load_all(text))
    except OSError as error:
        report.add("", f"cannot be read: {error.strerror or error}")
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        report.add("", f"is neither YAML nor JSON: {error}")
    else:
        # A JSON list of entries is several documents too.
        return [
            raw
            for document in loaded
            if document is not None
            for raw in (document if isinstance(document, list) else [document])
        ]
    return []
