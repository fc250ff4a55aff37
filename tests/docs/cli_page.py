"""``docs/reference/cli.md``: what every command says of itself."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from typer.testing import CliRunner

from mesh.cli import main
from mesh.cli.lazy import Deferred

_WIDTH: Final = 90
_INTRODUCTION: Final = """\
# The command `mesh`

What `--help` prints, command by command. Shell completion: `mesh --install-completion`.
Every result comes as a table, or with `-o json` and `-o yaml` for programs.
"""


def page() -> str:
    """Return the page."""
    parts = [_INTRODUCTION]
    parts += [f"## `{' '.join(words)}`\n\n```text\n{_help(words[1:])}```\n" for words in commands()]
    return "\n".join(parts)


def commands() -> Iterator[tuple[str, ...]]:
    """Yield the words of every command, ``mesh`` first."""
    yield ("mesh",)
    for _, entries in main.SECTIONS:
        for entry in entries:
            yield ("mesh", entry.name)
            yield from _below(("mesh", entry.name), Deferred(entry).load())


def _below(words: tuple[str, ...], command: Any) -> Iterator[tuple[str, ...]]:
    below: dict[str, Any] = getattr(command, "commands", {})
    for name, each in below.items():
        yield (*words, name)
        yield from _below((*words, name), each)


def _help(words: tuple[str, ...]) -> str:
    ran = CliRunner().invoke(main.app, [*words, "--help"], prog_name="mesh", terminal_width=_WIDTH)
    if ran.exit_code:
        raise RuntimeError(f"mesh {' '.join(words)} --help: {ran.output}")
    return "\n".join(line.rstrip() for line in ran.output.strip("\n").splitlines()) + "\n"
