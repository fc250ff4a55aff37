"""Token buckets by source address."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mesh.controlplane.rate_limit import Rate, RateLimiter, source_of

MANY = Rate(1e6, 10**6)


def test_a_burst_passes_and_then_the_rate_holds() -> None:
    limiter = RateLimiter(MANY, Rate(2.0, 3), 0.0)
    assert [limiter.admit("192.0.2.1", 0.0) for _ in range(4)] == [0.0, 0.0, 0.0, 0.5]
    assert limiter.admit("192.0.2.1", 0.5) == 0.0


def test_a_source_over_its_limit_costs_the_others_nothing() -> None:
    limiter = RateLimiter(Rate(1.0, 3), Rate(1.0, 1), 0.0)
    assert limiter.admit("192.0.2.1", 0.0) == 0.0
    assert all(limiter.admit("192.0.2.1", 0.0) > 0 for _ in range(10))
    assert limiter.admit("192.0.2.2", 0.0) == 0.0
    assert limiter.admit("192.0.2.3", 0.0) == 0.0
    assert limiter.admit("192.0.2.4", 0.0) > 0


@given(st.lists(st.floats(min_value=0, max_value=5), max_size=60))
def test_no_source_ever_gets_more_than_burst_and_rate(gaps: list[float]) -> None:
    rate, now, admitted = Rate(2.0, 4), 0.0, 0
    limiter = RateLimiter(MANY, rate, now)
    for gap in gaps:
        now += gap
        admitted += limiter.admit("192.0.2.1", now) == 0.0
    assert admitted <= rate.burst + rate.per_second * now + 1e-6


def test_memory_is_bounded_by_forgetting_those_who_rest() -> None:
    limiter = RateLimiter(MANY, Rate(1.0, 1), 0.0, max_sources=2)
    assert limiter.admit("192.0.2.1", 0.0) == 0.0
    for turn in range(100):
        assert limiter.admit(f"198.51.100.{turn}", 0.0) == 0.0
    assert len(limiter._sources) <= 2  # noqa: SLF001 - the bound itself is under test


@pytest.mark.parametrize(
    ("address", "source"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("", ""),
    ],
)
def test_one_ipv6_network_is_one_source(address: str, source: str) -> None:
    assert source_of(address) == source
