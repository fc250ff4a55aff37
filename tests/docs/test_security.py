"""Every test that ``docs/security.md`` names is there."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from tests.docs.places import DOCS, ROOT

_NAMED = re.compile(r"`(tests/[\w/]+\.py)::(\w+)`")
NAMED = sorted(set(_NAMED.findall((DOCS / "security.md").read_text(encoding="utf-8"))))


def _tests(file: Path) -> set[str]:
    tree = ast.parse(file.read_text(encoding="utf-8"))
    return {
        node.name
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    }


@pytest.mark.parametrize(("file", "name"), NAMED)
def test_a_named_test_exists(file: str, name: str) -> None:
    assert name in _tests(ROOT / file)


def test_claims_name_tests() -> None:
    text = (DOCS / "security.md").read_text(encoding="utf-8")
    rows = [line for line in text.splitlines() if line.startswith("|") and "tests/" in line]
    assert rows
    assert all(_NAMED.search(row) for row in rows)
