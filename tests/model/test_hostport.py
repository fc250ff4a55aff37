"""Addresses as URLs have them."""

from __future__ import annotations

import pytest

from mesh.model import hostport


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("0.0.0.0:0", ("0.0.0.0", 0)),  # noqa: S104 - read, not listened on
        ("zone.corp:5678", ("zone.corp", 5678)),
        ("[::1]:65535", ("::1", 65535)),
    ],
)
def test_what_is_read_is_written_again(text: str, parts: tuple[str, int]) -> None:
    assert hostport.split(text) == parts
    assert hostport.join(*parts) == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "5678",
        ":5678",
        "zone:",
        "zone:http",
        "zone:65536",
        "::1:80",
        "[zone]:80",
        f"a:{'9' * 5000}",
    ],
)
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not an address: write host:port"):
        hostport.split(text)
