"""``mesh delete``: take policies away."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mesh.cli import policy_store, progress
from mesh.cli.apply import DryRunOption, tell
from mesh.cli.arguments import refused
from mesh.cli.consul import consul_options
from mesh.cli.output import Output, OutputOption, show
from mesh.cli.policies import CAN_WRITE, KIND_HELP, read_valid
from mesh.cli.zone_api import DEFAULT_ZONE, AdminTokenOption, BundleOption, ZoneOption
from mesh.clients.consul import ConsulAddress

app = typer.Typer()


@app.command(
    help="Delete policies, by name or those in files: all of them, or none.\n\n"
    "One that is not there is no error.  Its versions are kept: see `mesh get --versions`.  A "
    "rollout that calls depend on is refused without --force; of rollouts, write for "
    'key_prefix "mesh/rollouts/" is needed, too.\n\n'
    "With --dry-run the zone tells what would change, as with `mesh apply --dry-run`."
    f"\n\n{CAN_WRITE}",
    epilog="\b\nExamples:\n  mesh delete timeout slow\n  mesh delete -f policies/",
)
@consul_options
def delete(
    kind: Annotated[str, typer.Argument(metavar="KIND", help=KIND_HELP)] = "",
    name: Annotated[str, typer.Argument(metavar="NAME", help="Name of the policy.")] = "",
    *,
    consul: ConsulAddress,
    file: Annotated[
        list[Path] | None,
        typer.Option(
            "--file",
            "-f",
            metavar="FILE",
            help="Those that stand in this file or directory; - is stdin.  Repeatable.",
        ),
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Also rollouts that calls depend on.")
    ] = False,
    dry_run: DryRunOption = False,
    zone: ZoneOption = DEFAULT_ZONE,
    admin_token_file: AdminTokenOption = None,
    bundle: BundleOption = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Delete policies."""
    if bool(file) == bool(kind) or bool(kind) != bool(name):
        raise refused("the command", "give KIND and NAME, or --file")
    named = [each.document.key for each in read_valid(file)] if file else [(kind, name)]
    if dry_run:
        tell(consul, (zone, admin_token_file, bundle), output, deleted=named)
        return
    found = progress.run("Writing to Consul", policy_store.delete(consul, named, force=force))
    show(output, [each.document for each in found], *(each.line for each in found))
