"""The samples behind the page about Consul's entries are worth what the page makes of them."""

from __future__ import annotations

import pytest

from mesh.sources.consul.entries import UNUSED_KINDS
from tests.docs.consul_entries_page import UNUSED, USED, fields, reason
from tests.docs.consul_samples import SAMPLED
from tests.docs.consul_samples.sampled import Sampled

by_kind = pytest.mark.parametrize("sampled", SAMPLED, ids=lambda each: each.kind)


@by_kind
def test_every_note_is_about_a_field(sampled: Sampled) -> None:
    assert set(sampled.notes) <= set(fields(sampled))


@by_kind
def test_what_is_called_refused_is(sampled: Sampled) -> None:
    for path, value in sampled.refused.items():
        assert reason(sampled, path, value)


@by_kind
def test_every_sample_has_its_kind(sampled: Sampled) -> None:
    assert {each["Kind"] for each in sampled.samples} == {sampled.kind}
    assert sampled.kind not in UNUSED_KINDS


def test_effect_is_told_from_none() -> None:
    (defaults,) = [each for each in SAMPLED if each.kind == "service-defaults"]
    found = fields(defaults)
    assert found["MaxInboundConnections"] == USED
    assert found["TransparentProxy"] == UNUSED
    assert found["UpstreamConfig.Overrides[].Limits.MaxConnections"] == USED
