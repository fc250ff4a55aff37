"""The caller's policies: what their examples are about, and every part's words."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import pytest
import yaml

from mesh.policies.document import parse
from mesh.policies.kind import Kind
from mesh.policies.kinds import (
    circuit_breaker,
    health_check,
    http_route,
    load_balancing,
    retry,
    tcp_route,
)
from mesh.policies.shape import DestinationRef, Strict
from tests.policies.kinds.on_envoy import validated

KINDS = (
    http_route.KIND,
    tcp_route.KIND,
    retry.KIND,
    load_balancing.KIND,
    circuit_breaker.KIND,
    health_check.KIND,
)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_the_example_is_about_web_calling_api(kind: Kind) -> None:
    document = parse(yaml.safe_load(kind.example), {kind.name: kind})

    assert document.spec.target_ref.selects("web-1", {"service": "web"})
    assert any(to.target_ref.covers("api") for to in getattr(document.spec, "to", ()))


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_the_summary_is_one_sentence(kind: Kind) -> None:
    assert kind.summary.endswith(".")
    assert kind.summary.count(". ") == 0


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_every_field_is_described(kind: Kind) -> None:
    undescribed = [
        f"{model.__name__}.{name}"
        for model in _models(kind.conf or kind.spec.model_fields["to"].annotation)
        for name, field in model.model_fields.items()
        if not field.description
    ]

    assert undescribed == []


def _models(annotation: Any) -> Iterator[type[Strict]]:
    if isinstance(annotation, type) and issubclass(annotation, Strict):
        if issubclass(annotation, DestinationRef):
            return
        yield annotation
        for field in annotation.model_fields.values():
            yield from _models(field.annotation)
    for part in get_args(annotation):
        yield from _models(part)


def test_envoy_takes_the_routes_of_the_example(tmp_path: Path) -> None:
    kind = http_route.KIND
    document = parse(yaml.safe_load(kind.example), {kind.name: kind})

    validated(http_route.routes(document, "api"), (), tmp_path)
