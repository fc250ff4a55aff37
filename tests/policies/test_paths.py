"""Paths as rules see them; that Envoy agrees is held beside the real one."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mesh.policies.intentions.paths import normalise


@pytest.mark.parametrize(
    ("target", "path"),
    [
        ("/a/../b", "/b"),
        ("/a//../b", "/a/b"),
        ("/a/%2e%2E/b?c=/..", "/b"),
        ("//x///y", "/x/y"),
        ("/a%2Fb", "/a%2Fb"),
        ("/%41", "/A"),
        ("/a/.", "/a/"),
        ("/..", "/"),
        ("/a\\..\\b", "/b"),
        ("/a/..;x/b", "/b"),
        ("/a|b", "/a%7Cb"),
        ("*", "*"),
    ],
)
def test_a_path_is_normalised(target: str, path: str) -> None:
    assert normalise(target) == path


@given(st.text(alphabet="/.ab;\\?#").map(lambda text: f"/{text}"))
def test_no_dot_segment_is_left(target: str) -> None:
    path = normalise(target)

    assert path.startswith("/")
    assert not {".", ".."} & set(path.split("/"))
    assert "//" not in path
