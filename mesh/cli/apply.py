"""``mesh apply``: make policies stand as files say, or tell what that would change."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from mesh.cli import dry_run as found_by
from mesh.cli import policy_store, progress
from mesh.cli.consul import consul_options
from mesh.cli.errors import NO, parts
from mesh.cli.output import Output, OutputOption, show
from mesh.cli.policies import CAN_WRITE, FileOption, Given, read_valid
from mesh.cli.zone_api import (
    DEFAULT_ZONE,
    AdminTokenOption,
    BundleOption,
    ZoneOption,
    admin_client,
    zone_address,
)
from mesh.clients.consul import ConsulAddress
from mesh.clients.zone import ZoneError
from mesh.model.violations import InvalidInputError
from mesh.policies.kinds import proxy_patch

app = typer.Typer()

DryRunOption = Annotated[
    bool, typer.Option("--dry-run", help="Tell what would change; change nothing.")
]


@app.command(
    help="Apply policies from files: all of them, or none.\n\n"
    "Everything is validated before anything is written, and written in one transaction; if "
    "somebody else changes one of the documents meanwhile, nothing is.  Applying again changes "
    "nothing.\n\n"
    "A MeshProxyPatch is applied only if the zone's Envoy would take what it makes of the "
    "resources of the connected proxies.\n\n"
    "With --dry-run the zone tells which proxies' configuration would change, which calls would "
    "be refused, allowed or sent elsewhere, and which resources Envoy would refuse.  The exit "
    f"code is then 1 if anything would be refused.\n\n{CAN_WRITE}  A dry run takes read instead "
    "of write.",
    epilog="\b\nExamples:\n"
    "  mesh apply -f policies/\n"
    "  mesh apply -f policies/ --dry-run\n"
    "  mesh get timeout slow -o yaml --version 3 | mesh apply -f -",
)
@consul_options
def apply(
    *,
    file: FileOption,
    dry_run: DryRunOption = False,
    no_validate: Annotated[
        bool,
        typer.Option(
            "--no-validate", help="Apply a MeshProxyPatch without asking the zone's Envoy."
        ),
    ] = False,
    zone: ZoneOption = DEFAULT_ZONE,
    admin_token_file: AdminTokenOption = None,
    bundle: BundleOption = None,
    consul: ConsulAddress,
    output: OutputOption = Output.TABLE,
) -> None:
    """Apply policies from files."""
    given = read_valid(file)
    place = (zone, admin_token_file, bundle)
    if dry_run:
        tell(consul, place, output, given=given)
        return

    async def validate(changed: Sequence[Given]) -> None:
        patches = [each.document for each in changed if each.document.kind == proxy_patch.KIND.name]
        if patches and not no_validate:
            labels = ", ".join(each.label for each in patches)
            await _validate(place, [each.document.raw for each in changed], labels)

    found = progress.run("Writing to Consul", policy_store.apply(consul, given, validate))
    show(output, [each.document for each in found], *(each.line for each in found))


Place = tuple[str, Path | None, Path | None]
"""A zone's API, the file of the admin token, and that of the trust bundle, as options say."""


def tell(
    consul: ConsulAddress,
    place: Place,
    output: Output,
    *,
    given: Sequence[Given] = (),
    deleted: Sequence[tuple[str, str]] = (),
) -> None:
    """Print what would change if policies were applied or deleted.

    Raises:
        Exit: something would be refused.

    """
    outcomes, names = progress.run("Asking Consul", policy_store.foresee(consul, given, deleted))
    documents = [each.document.raw for each in given]
    answer = progress.run("Asking the zone", _ask(place, documents, names))
    show(output, found_by.document(outcomes, answer), *found_by.parts(outcomes, answer))
    if found_by.forbids(outcomes, answer):
        raise typer.Exit(NO)


async def _validate(place: Place, documents: Sequence[found_by.Json], labels: str) -> None:
    try:
        answer = await _ask(place, documents)
    except (ZoneError, InvalidInputError) as error:
        what, remedy = parts(error)
        raise ZoneError(
            f"{labels} cannot be validated, and nothing was applied: {what}",
            remedy=f"{remedy or 'name the zone with --zone'}; or apply with --no-validate",
        ) from error
    found_by.refuse_patches(answer)


async def _ask(
    place: Place,
    documents: Sequence[found_by.Json],
    deleted: Sequence[tuple[str, str]] = (),
) -> found_by.Json:
    zone, admin_token_file, bundle = place
    async with admin_client(zone_address(zone, bundle), admin_token_file) as client:
        return await client.dry_run(documents, deleted)
