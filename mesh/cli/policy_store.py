"""Policies in Consul, for the commands that read and change them.

Whatever changes something is planned first, against everything that stands; then it is committed
as a whole.
"""

from __future__ import annotations

import enum
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

from mesh.cli import rollout_states
from mesh.cli.checks.consul_rights import Right
from mesh.cli.policies import Given, faults_of, refuse, resolve
from mesh.cli.policy_check import read_entries
from mesh.cli.policy_rights import READ, WRITE, require
from mesh.clients.consul import ConsulAddress, ConsulClient
from mesh.clients.consul.policies import Policies
from mesh.clients.consul.policy_records import Change, Holdings, Key, deletions, puts
from mesh.model.violations import InvalidInputError
from mesh.policies.document import DEFAULT_MESH, Document, parse
from mesh.policies.kinds import rollout
from mesh.policies.registry import KINDS
from mesh.routing.validate import new_violations


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
    def forecast(self) -> str:
        """What a person is told of it while nothing is changed yet."""
        if self.state in {State.UNCHANGED, State.ABSENT}:
            return self.line
        return self.line.replace(f": {self.state}", f": would be {self.state}", 1)

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
async def opened(
    address: ConsulAddress, rights: Sequence[Right] = READ
) -> AsyncIterator[tuple[Policies, Holdings]]:
    """Dial Consul, see that the token has ``rights``, and read what stands.

    Raises:
        ConsulError: Consul did not answer, or refused.

    """
    async with ConsulClient(address) as client:
        await require(client, rights)
        store = Policies(client)
        yield store, await store.read(DEFAULT_MESH)


async def holdings(address: ConsulAddress) -> Holdings:
    """Read what stands.

    Raises:
        ConsulError: Consul did not answer, or refused.

    """
    async with opened(address) as (_, found):
        return found


Validate = Callable[[Sequence[Given]], Awaitable[None]]
"""Raises what keeps the documents given from being applied."""


async def apply(
    address: ConsulAddress, given: Sequence[Given], validate: Validate | None = None
) -> list[Outcome]:
    """Make every document stand as it is given, or none; ``validate`` hears of what changes.

    Raises:
        InvalidInputError: they contradict one another, or what stands.
        ConsulError: Consul did not answer, or refused.

    """
    async with opened(address, WRITE) as (store, found):
        changes = plan(found, given)
        await _check(store, found, changes, given)
        if validate is not None:
            await validate(
                [one for one, change in zip(given, changes, strict=True) if change.changes]
            )
        await store.commit(changes)
        return [_outcome(change) for change in changes]


async def foresee(
    address: ConsulAddress, given: Sequence[Given], deleted: Iterable[tuple[str, str]] = ()
) -> tuple[list[Outcome], list[tuple[str, str]]]:
    """Tell what would become of documents that are given, and of others that are deleted.

    Returned beside it are the latter, by the full names of their kinds.

    Raises:
        InvalidInputError: a kind is unknown.
        ConsulError: Consul did not answer, or refused.

    """
    async with opened(address) as (_, found):
        keys = _keys(found, deleted)
        outcomes = [_outcome(each) for each in (*plan(found, given), *deletions(found, keys))]
        return outcomes, [(key.kind, key.name) for key in keys]


def plan(found: Holdings, given: Sequence[Given]) -> tuple[Change, ...]:
    """Return what makes ``given`` stand."""
    return puts(found, (each.document.raw for each in given))


async def delete(
    address: ConsulAddress, named: Iterable[tuple[str, str]], *, force: bool = False
) -> list[Outcome]:
    """Delete the documents of those kinds and names, or none.

    Raises:
        InvalidInputError: what would be left is contradictory, a kind is unknown, or (without
            ``force``) calls depend on a rollout.
        ConsulError: Consul did not answer, or refused.

    """
    async with opened(address, WRITE) as (store, found):
        changes = deletions(found, _keys(found, named))
        await _check(store, found, changes)
        rollouts = [each.key.name for each in changes if each.key.kind == rollout.KIND.name]
        if rollouts and not force:
            await rollout_states.refuse_needed(store.client, rollouts)
        await store.commit(changes)
        await rollout_states.forget(store.client, rollouts)
        return [_outcome(change) for change in changes]


def known_kinds(found: Holdings) -> set[str]:
    """Return the kinds of which there is a document or might be one."""
    return {*KINDS, *(key.kind for key in found.indexes), *(key.kind for key in found.versions)}


def _keys(found: Holdings, named: Iterable[tuple[str, str]]) -> list[Key]:
    kinds = known_kinds(found)
    keys = (Key(DEFAULT_MESH, resolve(kind, kinds), name) for kind, name in named)
    return list(dict.fromkeys(keys))


async def _check(
    store: Policies, found: Holdings, changes: Sequence[Change], given: Sequence[Given] = ()
) -> None:
    before = _documents(found)
    changed = {(change.key.kind, change.key.name) for change in changes}
    after = {key: each for key, each in before.items() if key not in changed}
    after.update((each.document.key, each.document) for each in given)
    labels = {each.document.label for each in given}
    findings = new_violations(await read_entries(store.client), before, after, labels)
    refuse(faults_of(given, findings))


def _documents(found: Holdings) -> dict[tuple[str, str], Document]:
    documents = {}
    for stored in (*found.mirrored.values(), *found.documents.values()):
        try:
            document = parse(stored.document, KINDS, version=stored.version)
        except InvalidInputError:
            # Of a newer release, or written by hand: the zone names it and says what it closes.
            continue
        documents[document.key] = document
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
