"""``mesh delete``: take policies away."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mesh.cli import policy_store, progress
from mesh.cli.arguments import refused
from mesh.cli.consul import consul_options
from mesh.cli.output import Output, OutputOption, show
from mesh.cli.policies import CAN_WRITE, KIND_HELP, read_valid
from mesh.clients.consul import ConsulAddress

app = typer.Typer()


@app.command(
    help="Delete policies, by name or those in files: all of them, or none.\n\n"
    "One that is not there is no error.  Its versions are kept: see `mesh get --versions`."
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
    output: OutputOption = Output.TABLE,
) -> None:
    """Delete policies."""
    if bool(file) == bool(kind) or bool(kind) != bool(name):
        raise refused("the command", "give KIND and NAME, or --file")
    named = [each.document.key for each in read_valid(file)] if file else [(kind, name)]
    found = progress.run("Writing to Consul", policy_store.delete(consul, named))
    show(output, [each.document for each in found], *(each.line for each in found))
