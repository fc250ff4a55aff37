"""How the tests of the kinds read documents."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from mesh.model.violations import InvalidInputError
from mesh.policies.document import Document, parse
from mesh.policies.kind import Kind


def document(kind: Kind, spec: str, *, name: str = "one", mesh: str = "default") -> Document:
    """Read a document of ``kind`` with this ``spec`` (YAML)."""
    raw = {"type": kind.name, "name": name, "mesh": mesh, "spec": yaml.safe_load(spec)}
    return parse(raw, {kind.name: kind})


def violations(kind: Kind, spec: str) -> dict[str, str]:
    """Return what is wrong with ``spec``: the message for each path."""
    with pytest.raises(InvalidInputError) as refused:
        document(kind, spec)
    return {each.path: each.message for each in refused.value.violations}


def rule(kind: Kind, default: str, *, name: str = "one") -> Any:
    """Return the ``default`` (YAML) of a rule without matches, as the contributions take it."""
    spec: Any = document(kind, f"rules: [{{default: {default}}}]", name=name).spec
    return spec.rules[0].default
