"""What a setting's text may be."""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mesh.config.types import HostPort, format_duration, parse_duration


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (90, timedelta(seconds=90)),
        (0.5, timedelta(milliseconds=500)),
        ("90", timedelta(seconds=90)),
        ("24h", timedelta(hours=24)),
        ("90d", timedelta(days=90)),
        ("1h30m", timedelta(minutes=90)),
        ("250ms", timedelta(milliseconds=250)),
        ("P90D", timedelta(days=90)),
        ("PT12H", timedelta(hours=12)),
    ],
)
def test_a_duration_is_read_in_every_form(text: object, expected: timedelta) -> None:
    assert parse_duration(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "",
        "soon",
        "5 parsecs",
        "-1",
        True,
        None,
        -1,
        "h",
        "PX",
        float("nan"),
        float("inf"),
        10**30,
        "9" * 20 + "d",
    ],
)
def test_what_is_no_duration_is_refused_with_an_example(text: object) -> None:
    with pytest.raises(ValueError, match="write seconds, 30s, 24h"):
        parse_duration(text)


@given(st.integers(min_value=0, max_value=10**7))
def test_a_written_duration_reads_back(seconds: int) -> None:
    assert parse_duration(format_duration(timedelta(seconds=seconds))) == timedelta(seconds=seconds)


@pytest.mark.parametrize("text", ["0.0.0.0:5678", "[::1]:80", "zone.example:0"])
def test_an_address_reads_back(text: str) -> None:
    assert str(HostPort.parse(text)) == text


@pytest.mark.parametrize(
    "text", ["5678", ":5678", "host", "host:", "host:70000", "::1:80", "[host]:80", "host:-1"]
)
def test_what_is_no_address_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(ValueError, match=r"write host:port, as in 0\.0\.0\.0:5678"):
        HostPort.parse(text)
