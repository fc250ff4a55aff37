"""A result of several parts: sentences and tables, one below the other.

``output`` prints a document or a table; here is what a command needs that says more than one
table does.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import typer

from mesh.cli import output as printer
from mesh.cli.output import Output


@dataclass(frozen=True, slots=True)
class Table:
    """Columns and rows.  A cell may have several lines; ``empty`` stands in for no rows."""

    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    empty: str = "None."


def show(output: Output, document: Any, *parts: str | Table) -> None:
    """Print ``document`` for programs, or ``parts`` for people."""
    if output is not Output.TABLE:
        printer.write(document, output)
        return
    for part in parts:
        if isinstance(part, str):
            typer.echo(part)
        elif part.rows:
            printer.table(part.columns, part.rows)
        else:
            typer.echo(part.empty)
