"""Fenced code blocks of the guides."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Final

from tests.docs.places import DOCS

GUIDES: Final = DOCS / "guides"
_BLOCK: Final = re.compile(r"^```(\w+)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
_NAME: Final = re.compile(r"# (\S+\.\w+)\n")


@dataclass(frozen=True, slots=True)
class Block:
    """One block; ``name`` is the file that its first line names in a comment."""

    language: str
    text: str

    @property
    def name(self) -> str:
        """The file's name, if it says one."""
        found = _NAME.match(self.text)
        return found.group(1) if found else ""


def blocks(page: Path, language: str) -> list[Block]:
    """Return the blocks of ``page`` in ``language``."""
    found = _BLOCK.findall(page.read_text(encoding="utf-8"))
    return [Block(each, text) for each, text in found if each == language]


def mesh_commands() -> Iterator[tuple[str, list[str]]]:
    """Yield every ``mesh`` command line of every page, with the page's name."""
    for page in sorted(DOCS.rglob("*.md")):
        for block in blocks(page, "sh"):
            for line in block.text.splitlines():
                words = shlex.split(line, comments=True)
                for is_pipe, part in groupby(words, lambda word: word == "|"):
                    command = list(part)
                    if not is_pipe and command[0] == "mesh":
                        yield page.name, command
