"""``mesh diff``: what applying files would change in the documents themselves."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import typer
import yaml

from mesh.cli import policy_store, progress
from mesh.cli.consul import consul_options
from mesh.cli.errors import NO
from mesh.cli.policies import CAN_READ, FileOption, Given, read_valid, readable
from mesh.clients.consul import ConsulAddress
from mesh.clients.consul.policy_records import Change, Holdings

app = typer.Typer()


@app.command(
    help="Show how policies in files differ from those that stand.\n\n"
    "Prints a unified diff, as diff(1) does, and exits with 1 if there are differences."
    f"\n\n{CAN_READ}",
    epilog="\b\nExample:\n  mesh diff -f policies/",
)
@consul_options
def diff(*, file: FileOption, consul: ConsulAddress) -> None:
    """Show how policies in files differ from those that stand."""
    given = read_valid(file)
    found = progress.run("Asking Consul", policy_store.holdings(consul))
    lines = list(differences(found, given))
    for line in lines:
        typer.echo(line)
    if lines:
        raise typer.Exit(NO)


def differences(found: Holdings, given: Sequence[Given]) -> Iterator[str]:
    """Yield the lines of a unified diff from what stands to what is ``given``."""
    for each, change in zip(given, policy_store.plan(found, given), strict=True):
        if change.changes and change.document is not None:
            yield from difflib.unified_diff(
                _lines(change.before.document) if change.before else [],
                _lines(change.document),
                _stands(change),
                f"{each.place} {change.key.label}",
                lineterm="",
            )


def _stands(change: Change) -> str:
    return f"{change.key.label} v{change.before.version}" if change.before else "/dev/null"


def _lines(document: Mapping[str, Any]) -> list[str]:
    text: str = yaml.safe_dump(readable(document), sort_keys=False, allow_unicode=True)
    return text.splitlines()
