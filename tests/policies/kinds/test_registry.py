"""All kinds together: each has an example that is valid, and texts for its reference."""

from __future__ import annotations

import ast
import inspect
import itertools
import json
import sys

import pytest
import yaml

from mesh.model.violations import InvalidInputError
from mesh.policies.document import parse
from mesh.policies.kind import Kind
from mesh.policies.registry import KINDS

each_kind = pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)


@each_kind
def test_the_example_is_valid_and_survives_storage(kind: Kind) -> None:
    document = parse(yaml.safe_load(kind.example), KINDS)
    assert document.kind == kind.name
    assert parse(json.loads(document.text), KINDS) == document


@each_kind
def test_an_unknown_field_in_the_spec_is_named(kind: Kind) -> None:
    raw = yaml.safe_load(kind.example)
    raw["spec"]["nonsense"] = 1
    with pytest.raises(ValueError, match=r"spec\.nonsense: unknown field"):
        parse(raw, KINDS)


@each_kind
def test_every_field_is_described(kind: Kind) -> None:
    module = sys.modules[(kind.conf or kind.spec).__module__]
    tree = ast.parse(inspect.getsource(module))
    models = [each for each in tree.body if isinstance(each, ast.ClassDef)]
    names = {model.name for model in models}
    for model in models:
        assert ast.get_docstring(model), model.name
        assert not _undescribed(model, names), model.name


def test_a_list_whose_items_are_wrong_is_not_called_too_short() -> None:
    raw = {"type": "MeshTLS", "name": "one", "spec": {"rules": [{"default": {}}]}}
    with pytest.raises(InvalidInputError) as refused:
        parse(raw, KINDS)
    assert [each.path for each in refused.value.violations] == ["spec.rules[0].default.mode"]


def test_what_yaml_knows_beyond_json_is_text() -> None:
    raw = yaml.safe_load(KINDS["MeshTLS"].example)
    raw["spec"]["targetRef"]["labels"] = yaml.safe_load("{since: 2026-01-31}")
    document = parse(raw, KINDS)
    assert document.spec.target_ref.labels == {"since": "2026-01-31"}
    assert parse(document.raw, KINDS) == document


def _undescribed(model: ast.ClassDef, models: set[str]) -> set[str]:
    """Return the fields without a text of their own and without a model that has one."""
    missing = set()
    for each, after in itertools.pairwise([*model.body, ast.Pass()]):
        if not isinstance(each, ast.AnnAssign) or not isinstance(each.target, ast.Name):
            continue
        said = isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant)
        if not said and models.isdisjoint(ast.unparse(each.annotation).split()):
            missing.add(each.target.id)
    return missing
