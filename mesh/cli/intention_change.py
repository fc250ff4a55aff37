"""Changing the intention of one pair: what it says so far, what it shall say, one write."""

from __future__ import annotations

import enum
from dataclasses import dataclass

from mesh.cli.facts import read_facts
from mesh.cli.permissions import Options, with_permission
from mesh.clients.consul import ConsulAddress, ConsulClient
from mesh.model import callers
from mesh.model.intentions import Action, Intention
from mesh.model.names import WILDCARD, InvalidNameError, service_name
from mesh.model.violations import InvalidInputError, Report
from mesh.policies.intentions import validate
from mesh.world.snapshot import World


class State(enum.StrEnum):
    """What a write did."""

    CREATED = "created"
    CHANGED = "changed"
    UNCHANGED = "unchanged"


@dataclass(frozen=True, slots=True)
class Statement:
    """What a person says of a pair; ``description`` None keeps the one there is."""

    source: str
    destination: str
    action: Action
    options: Options
    description: str | None
    first: bool


@dataclass(frozen=True, slots=True)
class Stated:
    """What became of a statement."""

    intention: Intention
    state: State
    warnings: tuple[str, ...]


async def state_pair(address: ConsulAddress, statement: Statement) -> Stated:
    """Write what ``statement`` says.

    Raises:
        InvalidInputError: it is not valid; nothing was written.
        ConsulError: Consul did not answer, or refused.

    """
    # What can be refused without Consul is refused before it is asked.
    check_statement(statement)
    async with ConsulClient(address) as client:
        world = (await read_facts(client)).world
        known = find(world, statement.source, statement.destination)
        wanted = change(world, known, statement)
        if wanted == known:
            return Stated(wanted, State.UNCHANGED, warnings(world, wanted))
        await client.intentions.put(wanted)
        state = State.CHANGED if known else State.CREATED
        return Stated(wanted, state, warnings(world, wanted))


async def delete_pair(address: ConsulAddress, source: str, destination: str) -> bool:
    """Delete the intention of a pair; False if there is none.

    Raises:
        InvalidInputError: a name is not valid.
        ConsulError: Consul did not answer, or refused.

    """
    check_pair(source, destination)
    async with ConsulClient(address) as client:
        return await client.intentions.delete(source, destination)


def check_statement(statement: Statement) -> None:
    """Refuse what can be refused without asking Consul.

    Raises:
        InvalidInputError: with every violation.

    """
    report = Report("the intention")
    try:
        check_pair(statement.source, statement.destination)
    except InvalidInputError as error:
        report.found += error.violations
    try:
        statement.options.permission(statement.action)
    except InvalidInputError as error:
        report.found += error.violations
    report.close()


def check_pair(source: str, destination: str) -> None:
    """Refuse names that no service can have.

    Raises:
        InvalidInputError: with every violation.

    """
    report = Report("the intention")
    for place, name, check in (
        ("SRC", source, callers.checked),
        ("DST", destination, service_name),
    ):
        try:
            if name != WILDCARD:
                check(name)
        except InvalidNameError as error:
            report.add(place, str(error))
    report.close()


def find(world: World, source: str, destination: str) -> Intention | None:
    """Return what is said of exactly this pair."""
    entry = world.intentions.get(destination, ())
    return next((each for each in entry if each.source == source), None)


def change(world: World, known: Intention | None, statement: Statement) -> Intention:
    """Return the intention as it shall be.

    Raises:
        InvalidInputError: it would not be valid.

    """
    entry = world.intentions.get(statement.destination, ())
    permission = statement.options.permission(statement.action)
    stated = Intention(
        statement.source,
        statement.destination,
        statement.action,
        # What the destination's entry requires of tokens holds for each of its sources.
        jwt=entry[0].jwt if entry else (),
        description=_description(known, statement),
        id=known.id if known else "",
    )
    if permission is not None:
        stated = with_permission(known, stated, permission, first=statement.first)
    found = validate(stated)
    if found:
        raise InvalidInputError(f"the intention {stated.label}", found)
    return stated


def warnings(world: World, intention: Intention) -> tuple[str, ...]:
    """Return what a person would be surprised by."""
    protocol = world.protocol(intention.destination)
    if not intention.permissions or protocol.is_http:
        return ()
    surprise = (
        f"{intention.destination} speaks {protocol}, where requests cannot be told apart: "
        f"{intention.label} denies everything until Protocol = http stands in the "
        f"service-defaults of {intention.destination}"
    )
    return (surprise,)


def _description(known: Intention | None, statement: Statement) -> str:
    if statement.description is not None:
        return statement.description
    return known.description if known else ""
