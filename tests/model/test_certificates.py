"""The names of certificates: what the zone writes, the agent reads."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mesh.model.certificates import CertificateSource, InvalidSourceError, Keep

PARTS = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=12)


@given(st.sampled_from(Keep), PARTS, PARTS, st.lists(PARTS, max_size=3), st.integers(0, 10**6))
def test_a_name_is_read_as_it_was_written(
    keep: Keep, mount: str, path: str, names: list[str], ttl: int
) -> None:
    source = CertificateSource(keep, mount, path, tuple(names), ttl)
    assert CertificateSource.parse(source.name) == source


@pytest.mark.parametrize(
    "name",
    [
        "",
        "identity",
        "vault://secret/shop",
        "vault://secret?keep=kv",
        "vault:///shop?keep=kv",
        "file://secret/shop?keep=kv",
        "vault://secret/shop?keep=kv&more=1",
        "vault://secret/shop?keep=kv&ttl=x",
    ],
)
def test_anything_else_is_none(name: str) -> None:
    with pytest.raises(InvalidSourceError):
        CertificateSource.parse(name)
