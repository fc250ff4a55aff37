"""What the guides tell a person to type and to write is accepted."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml

from mesh.cli import main
from mesh.config.proxy import ProxySettings
from mesh.config.zone import ZoneSettings
from mesh.policies.document import parse
from mesh.policies.registry import KINDS
from mesh.routing.validate import violations
from tests.docs.blocks import GUIDES, Block, blocks, mesh_commands
from tests.docs.places import DOCS, ROOT

_LINK = re.compile(r"\]\(([^)#:]*\.md)?(?:#([^)]*))?\)")
_HEADING = re.compile(r"^#+ (.*)$", re.MULTILINE)
COMMANDS = sorted({(page, shlex.join(words)) for page, words in mesh_commands()})
POLICY_PAGES = [each for each in sorted(GUIDES.glob("*.md")) if "type: Mesh" in each.read_text()]
PROXY_FILES = [each for each in blocks(GUIDES / "first-zone.md", "yaml") if "proxy" in each.name]


@pytest.mark.parametrize(("page", "line"), COMMANDS)
def test_a_command_is_parsed(page: str, line: str) -> None:
    _, *words = shlex.split(line)
    command: Any = typer.main.get_command(main.app)
    context = command.make_context("mesh", words, resilient_parsing=False)
    with context:
        while hasattr(command, "resolve_command"):
            rest = [*context._protected_args, *context.args]  # noqa: SLF001 - where click keeps a group's words
            name, command, words = command.resolve_command(context, rest)
            context = command.make_context(name, words, parent=context)
            command = context.command


def _with_files(document: Any, directory: Path) -> Any:
    if isinstance(document, dict):
        return {key: _with_files(value, directory) for key, value in document.items()}
    if isinstance(document, str) and document.startswith("/"):
        file = directory / document.lstrip("/").replace("/", "-")
        file.touch()
        return str(file)
    return document


def test_the_zones_settings_are_valid(tmp_path: Path) -> None:
    (block,) = [each for each in blocks(GUIDES / "first-zone.md", "yaml") if "zone" in each.name]
    settings = ZoneSettings.model_validate(_with_files(yaml.safe_load(block.text), tmp_path))
    assert settings.ca.mode == "vault"


@pytest.mark.parametrize("block", PROXY_FILES, ids=range(len(PROXY_FILES)))
def test_the_proxies_settings_are_valid(block: Block) -> None:
    # What the systemd unit says on the command line.
    given = {"state_dir": "/var/lib/mesh/web", "join_token_file": "/run/token"}
    assert ProxySettings.model_validate({**yaml.safe_load(block.text), **given}).for_agent()


@pytest.mark.parametrize("page", POLICY_PAGES, ids=lambda page: page.name)
def test_the_policies_of_a_guide_are_accepted_together(page: Path) -> None:
    documents = [
        parse(raw, KINDS)
        for block in blocks(page, "yaml")
        for raw in yaml.safe_load_all(block.text)
        if "type" in raw
    ]
    assert documents
    assert violations(None, {one.key: one for one in documents}) == ()


def anchors(page: Path) -> set[str]:
    """Return what a link into ``page`` may name: its headings, as they are made into anchors."""
    plain = (re.sub(r"[^\w -]", "", each.lower()) for each in _HEADING.findall(page.read_text()))
    return {each.strip().replace(" ", "-") for each in plain}


@pytest.mark.parametrize(
    "page", [ROOT / "README.md", *sorted(DOCS.rglob("*.md"))], ids=lambda page: page.name
)
def test_links_lead_somewhere(page: Path) -> None:
    missing = []
    for file, anchor in _LINK.findall(page.read_text(encoding="utf-8")):
        place = page.parent / file if file else page
        if not place.exists() or (anchor and anchor not in anchors(place)):
            missing.append(f"{file}#{anchor}")
    assert not missing
