"""How results are printed: sentences and tables for people, JSON or YAML for programs.

A command makes one document, and sentences and tables that say the same; which of them are
printed is the caller's choice.  rich and yaml are imported only when they print.
"""

from __future__ import annotations

import enum
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import typer


class Output(enum.StrEnum):
    """The forms."""

    TABLE = "table"
    JSON = "json"
    YAML = "yaml"


OutputOption = Annotated[
    Output, typer.Option("--output", "-o", help="table, json or yaml.", show_default=True)
]
"""The option ``-o``; a command takes ``output: OutputOption = Output.TABLE``."""


@dataclass(frozen=True, slots=True)
class Table:
    """Columns and rows.  A cell may have several lines; ``empty`` stands in for no rows."""

    columns: Sequence[str]
    rows: Sequence[Sequence[object]]
    empty: str = "None."


def show(output: Output, document: Any, *parts: str | Table) -> None:
    """Print ``document`` (anything JSON can hold) for programs, or ``parts`` for people."""
    if output is Output.YAML:
        import yaml  # noqa: PLC0415 - only who asks for YAML pays for it

        typer.echo(yaml.safe_dump(document, sort_keys=False, allow_unicode=True), nl=False)
    elif output is Output.JSON:
        typer.echo(json.dumps(document, indent=2, ensure_ascii=False))
    else:
        for part in parts:
            if isinstance(part, str):
                typer.echo(part)
            elif part.rows:
                _draw(part)
            else:
                typer.echo(part.empty)


def note(text: str) -> None:
    """Print something beside the result, to stderr."""
    typer.echo(text, err=True)


def warn(texts: Sequence[str]) -> None:
    """Print warnings beside the result, to stderr."""
    for text in texts:
        note(f"warning: {text}")


def _draw(table: Table) -> None:
    from rich.console import Console  # noqa: PLC0415 - only tables need it
    from rich.table import Table as Drawing  # noqa: PLC0415 - likewise
    from rich.text import Text  # noqa: PLC0415 - likewise

    drawing = Drawing(box=None, pad_edge=False, header_style="bold")
    for column in table.columns:
        drawing.add_column(column.upper(), overflow="fold")
    for row in table.rows:
        # Text, so that brackets in a value are not read as markup.
        drawing.add_row(*(Text("-" if cell in {None, ""} else str(cell)) for cell in row))
    console = Console()
    if not console.is_terminal:
        # Piped into a file or a program, it is not cut to a terminal's width.
        console.width = 10_000
    console.print(drawing)
