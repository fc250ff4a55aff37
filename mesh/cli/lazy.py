"""Commands that are imported only when somebody runs them.

The root's help names every command from a table, so that ``mesh --help`` and shell completion
stay quick: no HTTP library, no validation, no cryptography.  A :class:`Deferred` stands in the
root for a command; asked for a context, which is how a command starts, it imports the real one
and lets that answer.
"""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import typer
from typer.core import TyperCommand, TyperGroup

_COMPLETION = frozenset({"install_completion", "show_completion"})


@dataclass(frozen=True, slots=True)
class Entry:
    """One command: its name, the first line of its help, and the module whose ``app`` it is."""

    name: str
    help: str
    module: str


Section = tuple[str, Sequence[Entry]]
"""A heading of the help, and what stands below it."""


class Deferred(TyperCommand):
    """Stands for a command that is not imported yet."""

    def __init__(self, entry: Entry) -> None:
        """Know what the help shows, and no more."""
        super().__init__(entry.name, help=entry.help, rich_markup_mode=None)
        self.entry = entry

    def load(self) -> Any:
        """Import the command: a typer group or command."""
        app: typer.Typer = importlib.import_module(self.entry.module).app
        command = typer.main.get_command(app)
        command.name = self.entry.name
        command.params = [each for each in command.params if each.name not in _COMPLETION]
        _plain(command)
        return command

    def make_context(
        self, info_name: str | None, args: list[str], parent: Any = None, **extra: Any
    ) -> Any:
        """Let the real command parse its arguments; the context made is its own."""
        return self.load().make_context(info_name, args, parent=parent, **extra)


class LazyGroup(TyperGroup):
    """A group whose commands come from a table of sections."""

    sections: ClassVar[Sequence[Section]] = ()

    def __init__(self, **attributes: Any) -> None:
        """Stand a :class:`Deferred` in for each entry."""
        super().__init__(**attributes)
        for _, entries in self.sections:
            for entry in entries:
                self.add_command(Deferred(entry))

    def format_commands(self, ctx: Any, formatter: Any) -> None:  # noqa: ARG002 - typer's hook
        """Write the table, section by section."""
        width = max(len(entry.name) for _, entries in self.sections for entry in entries)
        for heading, entries in self.sections:
            with formatter.section(heading):
                formatter.write_dl([(entry.name.ljust(width), entry.help) for entry in entries])


def _plain(command: Any) -> None:
    # Boxes take a tenth of 80 columns, and half of the time that a help may take.
    command.rich_markup_mode = None
    for child in getattr(command, "commands", {}).values():
        _plain(child)
