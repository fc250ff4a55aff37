"""``mesh get``: the policies that stand, and those that stood before."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import typer

from mesh.cli import policy_store, progress
from mesh.cli.arguments import refused
from mesh.cli.consul import consul_options
from mesh.cli.errors import NO
from mesh.cli.output import Output, OutputOption, Table, note, show, warn
from mesh.cli.policies import CAN_READ, KIND_HELP, readable, resolve
from mesh.clients.consul import ConsulAddress
from mesh.clients.consul.policy_records import Holdings, Key, Stored
from mesh.policies.document import DEFAULT_MESH

app = typer.Typer()

COLUMNS = ("kind", "name", "proxies", "version", "applied at", "by", "from")


@app.command(
    help="Show policies, or the versions of one.\n\n"
    "FROM tells those of the primary zone, which hold in every zone without one of that name, "
    "from the zone's own.\n\n"
    "With -o yaml and -o json they come as they can be applied.  The last 10 versions of each are "
    f"kept, also when it is deleted.\n\n{CAN_READ}",
    epilog="\b\nExamples:\n"
    "  mesh get\n"
    "  mesh get timeout -o yaml\n"
    "  mesh get timeout slow --versions",
)
@consul_options
def get(
    kind: Annotated[str, typer.Argument(metavar="KIND", help=KIND_HELP)] = "",
    name: Annotated[str, typer.Argument(metavar="NAME", help="Name of the policy.")] = "",
    *,
    consul: ConsulAddress,
    versions: Annotated[bool, typer.Option("--versions", help="List the versions kept.")] = False,
    version: Annotated[
        int | None, typer.Option(metavar="N", min=1, help="Show this version.")
    ] = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Show policies, or the versions of one."""
    if (versions or version) and not name:
        raise refused("the command", "--versions and --version need KIND and NAME")
    if versions and version:
        raise refused("the command", "give one of --versions and --version")
    if versions or version:
        stored = progress.run("Asking Consul", history(consul, kind, name))
        if version:
            _show_one(output, None, [each for each in stored if each.version == version])
        else:
            _show_versions(output, stored)
        return
    found = progress.run("Asking Consul", policy_store.holdings(consul))
    warn([f"{error}; nothing of it has effect" for error in found.unreadable.values()])
    selected = select(found, kind, name)
    if name:
        _show_one(output, found, selected)
    else:
        show(output, [readable(each.document) for each in selected], table(found, selected))


async def history(address: ConsulAddress, kind: str, name: str) -> Sequence[Stored]:
    """Return the versions kept of one policy, the oldest first.

    Raises:
        InvalidInputError: there is no such kind, or a version is malformed.
        ConsulError: Consul did not answer, or refused.

    """
    async with policy_store.opened(address) as (store, found):
        known = resolve(kind, policy_store.known_kinds(found))
        return await store.history(Key(DEFAULT_MESH, known, name))


def select(found: Holdings, kind: str, name: str) -> list[Stored]:
    """Return the documents asked for, by kind and name; an empty word means any.

    Raises:
        InvalidInputError: there is no such kind.

    """
    kind = resolve(kind, policy_store.known_kinds(found)) if kind else ""
    return [
        stored
        for key, stored in sorted({**found.mirrored, **found.documents}.items())
        if kind in {"", key.kind} and name in {"", key.name}
    ]


def table(holdings: Holdings, found: Sequence[Stored]) -> Table:
    """Return documents as rows; ``holdings`` tells where each is from."""
    rows = [
        (
            *(each.key.kind, each.key.name, whom(each.document), f"v{each.version}"),
            *_applied(each),
            "primary" if each.key in holdings.mirrored else "",
        )
        for each in found
    ]
    return Table(COLUMNS, rows, "No policy stands.")


def whom(document: Mapping[str, Any]) -> str:
    """Say which proxies a document concerns."""
    ref = _object(_object(document.get("spec")).get("targetRef"))
    labels = (f"{key}={value}" for key, value in _object(ref.get("labels")).items())
    return str(ref.get("name") or ",".join(labels) or "all")


def _show_one(output: Output, holdings: Holdings | None, found: Sequence[Stored]) -> None:
    if not found:
        note("There is no such policy; `mesh get` lists those that stand.")
        raise typer.Exit(NO)
    nothing = Holdings({}, {}, {}, {})
    show(output, readable(found[0].document), table(holdings or nothing, found[:1]))


def _show_versions(output: Output, found: Sequence[Stored]) -> None:
    if not found:
        _show_one(output, None, ())
    documents = [
        {
            "version": each.version,
            "applied_at": each.applied_at.isoformat(),
            "applied_by": each.applied_by or None,
            "document": readable(each.document),
        }
        for each in found
    ]
    rows = [(f"v{each.version}", *_applied(each)) for each in found]
    show(output, documents, Table(("version", "applied at", "by"), rows))


def _object(value: object) -> Mapping[str, Any]:
    # What stands may be of another release, or written by hand.
    return value if isinstance(value, Mapping) else {}


def _applied(stored: Stored) -> tuple[str, str]:
    return f"{stored.applied_at:%Y-%m-%d %H:%M:%S} UTC", stored.applied_by
