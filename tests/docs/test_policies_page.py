"""The page of policies leaves no field unexplained, and its examples hold."""

from __future__ import annotations

import pytest
import yaml

from mesh.policies.document import parse
from mesh.policies.kind import Kind
from mesh.policies.registry import KINDS
from tests.docs import policies_page


@pytest.mark.parametrize("kind", KINDS.values(), ids=lambda kind: kind.name)
def test_every_field_has_a_type_and_a_meaning(kind: Kind) -> None:
    rows = policies_page.rows(kind)
    assert [row.path for row in rows if not row.kinds or not row.meaning] == []
    assert rows


def test_every_common_field_has_a_type_and_a_meaning() -> None:
    for name, rows in policies_page.common():
        assert [(name, row.path) for row in rows if not row.kinds or not row.meaning] == []


@pytest.mark.parametrize("kind", KINDS.values(), ids=lambda kind: kind.name)
def test_every_example_is_valid(kind: Kind) -> None:
    assert parse(yaml.safe_load(kind.example), KINDS).kind == kind.name
