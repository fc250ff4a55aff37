"""How results are printed: a table for people, JSON or YAML for programs.

A command makes one document and says how its rows look; which of them is printed is the
caller's choice.  rich and yaml are imported only when they print.
"""

from __future__ import annotations

import enum
import json
from collections.abc import Callable, Iterable, Sequence
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

Rows = Callable[[], Iterable[Sequence[object]]]
"""Makes the rows of a table when one is printed."""


def show(document: Any, output: Output, columns: Sequence[str], rows: Rows) -> None:
    """Print ``document`` (anything JSON can hold) or, as a table, ``rows`` under ``columns``."""
    if output is Output.TABLE:
        table(columns, rows())
    else:
        write(document, output)


def write(document: Any, output: Output) -> None:
    """Print ``document`` as YAML, or else as JSON."""
    if output is Output.YAML:
        import yaml  # noqa: PLC0415 - only who asks for YAML pays for it

        typer.echo(yaml.safe_dump(document, sort_keys=False, allow_unicode=True), nl=False)
    else:
        typer.echo(json.dumps(document, indent=2, ensure_ascii=False))


def table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Print a table; piped into a file or a program, it is not cut to a terminal's width."""
    from rich.console import Console  # noqa: PLC0415 - only tables need it
    from rich.table import Table  # noqa: PLC0415 - likewise
    from rich.text import Text  # noqa: PLC0415 - likewise

    drawn = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        drawn.add_column(column.upper(), overflow="fold")
    for row in rows:
        # Text, so that brackets in a value are not read as markup.
        drawn.add_row(*(Text("-" if cell in {None, ""} else str(cell)) for cell in row))
    console = Console()
    if not console.is_terminal:
        console.width = 10_000
    console.print(drawn)


def note(text: str) -> None:
    """Print something beside the result, to stderr."""
    typer.echo(text, err=True)
