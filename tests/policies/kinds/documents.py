"""Documents about calls to ``api``, and what several of them say together."""

from __future__ import annotations

from typing import Any

import yaml

from mesh.policies import merge
from mesh.policies.document import Document
from mesh.policies.kind import Kind
from tests.policies.kinds import reading

API = {"kind": "MeshService", "name": "api"}


def read(kind: Kind, spec: dict[str, Any], name: str = "one") -> Document:
    """Read a document with ``spec``."""
    return reading.document(kind, yaml.safe_dump(spec), name=name)


def refused(kind: Kind, spec: dict[str, Any]) -> dict[str, str]:
    """Read what must be refused; return the violations by path."""
    return reading.violations(kind, yaml.safe_dump(spec))


def about_api(kind: Kind, default: dict[str, Any], name: str = "one") -> Document:
    """Read a document that says ``default`` of calls to ``api``."""
    return read(kind, {"to": [{"targetRef": API, "default": default}]}, name)


def conf_of(kind: Kind, *defaults: str | dict[str, Any]) -> Any:
    """Merge what documents about ``api`` say (or its YAML), the general first."""
    assert kind.conf is not None
    raw = [yaml.safe_load(each) if isinstance(each, str) else each for each in defaults]
    documents = [about_api(kind, each, f"d{index}") for index, each in enumerate(raw)]
    said = [pair for document in documents for pair in merge.outbound([document], "api")]
    merged = merge.merge(kind.conf, said)
    assert merged is not None
    return merged.conf
