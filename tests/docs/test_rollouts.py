"""The guide of rollouts: its resolver and its document fit, and say what the guide says."""

from __future__ import annotations

import json

import yaml

from mesh.policies.document import parse
from mesh.policies.kinds.rollout import RolloutSpec
from mesh.policies.registry import KINDS
from mesh.routing.validate import violations
from mesh.sources.consul.knowledge import Knowledge
from mesh.sources.consul.problems import Problems
from mesh.world.changes import Change, ConfigEntriesChanged
from tests.docs.blocks import GUIDES, blocks

PAGE = GUIDES / "rollouts.md"


def test_the_resolver_and_the_document_fit() -> None:
    (resolver,) = blocks(PAGE, "json")
    (block,) = blocks(PAGE, "yaml")
    said: list[Change] = []
    problems = Problems()
    raw = {"Kind": "service-defaults", "Name": "api", "Protocol": "http"}
    entries = (json.loads(resolver.text), raw)
    Knowledge(said.append, problems).entries(entries, with_intentions=False)
    assert problems.current == ()
    (change,) = [each for each in said if isinstance(each, ConfigEntriesChanged)]
    document = parse(yaml.safe_load(block.text), KINDS)
    assert isinstance(document.spec, RolloutSpec)
    assert violations(change.entries, {document.key: document}) == ()
