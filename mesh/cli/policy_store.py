"""Policies in Consul, for the commands that read and change them.

Whatever changes something is planned first, against everything that stands; then it is committed
as a whole.
"""

from __future__ import annotations

import enum
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

from mesh.cli.policies import Given, faults_of, refuse, resolve
from mesh.cli.policy_check import new_contradictions, read_entries
from mesh.clients.consul import ConsulAddress, ConsulClient
from mesh.clients.consul.policies import Policies
from mesh.clients.consul.policy_records import Change, Holdings, Key, deletions, puts
from mesh.model.violations import InvalidInputError
from mesh.policies.document import DEFAULT_MESH, Document, parse
from mesh.policies.registry import KINDS


class State(enum.StrEnum):
    """What became of a document."""

    CREATED = "created"
    CONFIGURED = "configured"
    UNCHANGED = "unchanged"
    DELETED = "deleted"
    ABSENT = "not there"


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one document; version 0 stands for none."""

    key: Key
    state: State
    before: int
    version: int

    @property
    def line(self) -> str:
        """What a person is told."""
        match self.state:
            case State.CONFIGURED:
                return f"{self.key.label}: {self.state} (v{self.before}→v{self.version})"
            case State.CREATED | State.UNCHANGED:
                return f"{self.key.label}: {self.state} (v{self.version})"
            case _:
                return f"{self.key.label}: {self.state}"

    @property
    def document(self) -> dict[str, object]:
        """What a program is told."""
        return {
            "type": self.key.kind,
            "name": self.key.name,
            "state": self.state.value,
            "version": self.version or None,
            "before": self.before or None,
        }


@asynccontextmanager
async def opened(address: ConsulAddress) -> AsyncIterator[tuple[Policies, Holdings]]:
    """Dial Consul and read what stands.

    Raises:
        ConsulError: Consul did not answer, or refused.

    """
    async with ConsulClient(address) as client:
        store = Policies(client)
        yield store, await store.read(DEFAULT_MESH)


async def holdings(address: ConsulAddress) -> Holdings:
    """Read what stands.

    Raises:
        ConsulError: Consul did not answer, or refused.

    """
    async with opened(address) as (_, found):
        return found


async def apply(address: ConsulAddress, given: Sequence[Given]) -> list[Outcome]:
    """Make every document stand as it is given, or none.

    Raises:
        InvalidInputError: they contradict one another, or what stands.
        ConsulError: Consul did not answer, or refused.

    """
    async with opened(address) as (store, found):
        changes = plan(found, given)
        await _change(store, found, changes, given)
        return [_outcome(change) for change in changes]


def plan(found: Holdings, given: Sequence[Given]) -> tuple[Change, ...]:
    """Return what makes ``given`` stand."""
    return puts(found, (each.document.raw for each in given))


async def delete(address: ConsulAddress, named: Iterable[tuple[str, str]]) -> list[Outcome]:
    """Delete the documents of those kinds and names, or none.

    Raises:
        InvalidInputError: what would be left is contradictory, or a kind is unknown.
        ConsulError: Consul did not answer, or refused.

    """
    async with opened(address) as (store, found):
        kinds = known_kinds(found)
        keys = [Key(DEFAULT_MESH, resolve(kind, kinds), name) for kind, name in named]
        changes = deletions(found, dict.fromkeys(keys))
        await _change(store, found, changes)
        return [_outcome(change) for change in changes]


def known_kinds(found: Holdings) -> set[str]:
    """Return the kinds of which there is a document or might be one."""
    return {*KINDS, *(key.kind for key in found.indexes), *(key.kind for key in found.versions)}


async def _change(
    store: Policies, found: Holdings, changes: Sequence[Change], given: Sequence[Given] = ()
) -> None:
    before = _documents(found)
    changed = {(change.key.kind, change.key.name) for change in changes}
    kept = [each for each in before if each.key not in changed]
    findings = new_contradictions(
        before,
        [*kept, *(each.document for each in given)],
        {each.document.label for each in given},
        await read_entries(store.client),
    )
    refuse(faults_of(given, findings))
    await store.commit(changes)


def _documents(found: Holdings) -> list[Document]:
    documents = []
    for stored in found.documents.values():
        try:
            documents.append(parse(stored.document, KINDS, version=stored.version))
        except InvalidInputError:
            # Of a newer release, or written by hand: the zone names it, and it has no effect.
            continue
    return documents


def _outcome(change: Change) -> Outcome:
    before = change.before.version if change.before else 0
    if change.document is None:
        state = State.DELETED if change.changes else State.ABSENT
    elif not change.changes:
        state = State.UNCHANGED
    else:
        state = State.CONFIGURED if change.before else State.CREATED
    return Outcome(change.key, state, before, change.version)
