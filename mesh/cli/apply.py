"""``mesh apply``: make policies stand as files say."""

from __future__ import annotations

import typer

from mesh.cli import policy_store, progress
from mesh.cli.consul import consul_options
from mesh.cli.output import Output, OutputOption, show
from mesh.cli.policies import CAN_WRITE, FileOption, read_valid
from mesh.clients.consul import ConsulAddress

app = typer.Typer()


@app.command(
    help="Apply policies from files: all of them, or none.\n\n"
    "Everything is validated before anything is written, and written in one transaction; if "
    "somebody else changes one of the documents meanwhile, nothing is.  Applying again changes "
    f"nothing.\n\n{CAN_WRITE}",
    epilog="\b\nExamples:\n"
    "  mesh apply -f policies/\n"
    "  mesh get timeout slow -o yaml --version 3 | mesh apply -f -",
)
@consul_options
def apply(*, file: FileOption, consul: ConsulAddress, output: OutputOption = Output.TABLE) -> None:
    """Apply policies from files."""
    given = read_valid(file)
    found = progress.run("Writing to Consul", policy_store.apply(consul, given))
    show(output, [each.document for each in found], *(each.line for each in found))
