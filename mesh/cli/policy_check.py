"""Whether policies may stand together, for the commands that check or change them."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from mesh.clients.consul import ConsulClient
from mesh.model.entries import Entries
from mesh.model.violations import Violation
from mesh.policies.document import Document
from mesh.routing.validate import violations
from mesh.sources.consul.knowledge import Knowledge
from mesh.sources.consul.problems import Problems
from mesh.world.changes import Change
from mesh.world.reduce import reduce
from mesh.world.snapshot import World

Finding = tuple[str, Violation]
"""The label of a document, and what is wrong with it."""


async def read_entries(client: ConsulClient) -> Entries:
    """Read the configuration entries, against which policies are held.

    Raises:
        ConsulError: Consul did not answer, or refused.

    """
    changes: list[Change] = []
    knowledge = Knowledge(changes.append, Problems())
    knowledge.entries((await client.config_list()).value, with_intentions=False)
    world = World(zone="", trust_domain="")
    for change in changes:
        world, _ = reduce(world, change)
    return world.entries


def contradictions(documents: Iterable[Document], entries: Entries | None) -> tuple[Finding, ...]:
    """Return what ``documents`` contradict of one another and of ``entries`` (if known)."""
    return violations(entries, {document.key: document for document in documents})


def new_contradictions(
    before: Iterable[Document],
    after: Iterable[Document],
    changed: Collection[str],
    entries: Entries,
) -> list[Finding]:
    """Return what is wrong ``after`` a change.

    What was wrong ``before`` with documents other than the ``changed`` (labels) does not stand in
    the way of the others.
    """
    known = set(contradictions(before, entries))
    found = contradictions(after, entries)
    return [each for each in found if each[0] in changed or each not in known]
