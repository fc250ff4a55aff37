"""A token is renewed at half life, and replaced when its maximum is near."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from mesh.clients.vault.lease import Step, TokenLease

NOW = datetime(2025, 1, 1, tzinfo=UTC)


def _lease(seconds: int, *, renewable: bool = True) -> TokenLease:
    return TokenLease.granted("secret", seconds=seconds, renewable=renewable, now=NOW)


def test_a_token_is_renewed_at_half_life() -> None:
    lease = _lease(3600)
    assert lease.next_step is Step.RENEW
    assert lease.wait(NOW) == timedelta(minutes=30)
    assert not lease.due(NOW + timedelta(minutes=29))
    assert lease.due(NOW + timedelta(minutes=30))


def test_a_token_near_its_maximum_is_replaced() -> None:
    lease = _lease(3600).renewed(seconds=3600, renewable=True, now=NOW)
    assert lease.next_step is Step.RENEW
    lease = lease.renewed(seconds=1700, renewable=True, now=NOW)
    assert lease.next_step is Step.LOGIN


def test_a_token_that_cannot_be_renewed_is_replaced() -> None:
    assert _lease(3600, renewable=False).next_step is Step.LOGIN


def test_a_root_token_needs_nothing() -> None:
    lease = _lease(0)
    assert lease.next_step is None
    assert not lease.due(NOW + timedelta(days=9999))


def test_the_token_is_not_shown() -> None:
    assert "secret" not in repr(_lease(1))


@given(st.integers(1, 10**7), st.integers(0, 10**7))
def test_the_wait_never_spins_and_never_passes_half_life(life: int, passed: int) -> None:
    lease, now = _lease(life), NOW + timedelta(seconds=passed)
    wait = lease.wait(now)
    assert wait >= timedelta(seconds=1)
    assert now + wait <= max(NOW + timedelta(seconds=life) / 2, now + timedelta(seconds=1))
