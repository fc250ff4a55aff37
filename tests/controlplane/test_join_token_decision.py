"""The pure half of join tokens: what a genuine token gives to whoever shows it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from mesh.ca.join_tokens import Grant, JoinToken
from mesh.controlplane.bindings import Record, StoredRecord
from mesh.controlplane.proofs.join_token import Ask, Bind, Reattest, decide
from mesh.controlplane.refusals import Reason, RefusedError
from mesh.model.identity import ZoneId

NOW = datetime(2025, 6, 1, tzinfo=UTC)
KEEP = timedelta(days=90)
TOKEN = JoinToken(
    id="t",
    grant=Grant(service="web"),
    zone=ZoneId("mesh.test", "dc1"),
    bundle_fingerprint="sha256:0",
    issued_at=NOW,
    expires_at=NOW + timedelta(hours=1),
)


def ask(after: timedelta = timedelta(), spki: str = "k1", service: str = "web") -> Ask:
    return Ask(spki, service, NOW + after)


def bound(**fields: object) -> StoredRecord:
    known: dict[str, object] = {"spki": "k1", "service": "web", "bound_at": NOW, **fields}
    return StoredRecord("key", 1, Record(**known))  # type: ignore[arg-type]  # the fields are a test's own


def test_an_unused_token_is_bound_to_who_asks() -> None:
    step = decide(TOKEN, ask(), None, None, KEEP)
    assert isinstance(step, Bind)
    assert (step.record.spki, step.record.service) == ("k1", "web")
    assert step.record.expires_at == TOKEN.expires_at


@pytest.mark.parametrize("after", [timedelta(), timedelta(days=30), timedelta(days=89)])
def test_the_bound_key_is_accepted_long_after_the_token_expired(after: timedelta) -> None:
    assert isinstance(decide(TOKEN, ask(after), bound(), None, KEEP), Reattest)


def test_every_certificate_starts_the_time_anew() -> None:
    record = bound(last_issued_at=NOW + timedelta(days=60))
    assert isinstance(decide(TOKEN, ask(timedelta(days=149)), record, None, KEEP), Reattest)


@pytest.mark.parametrize(
    ("asked", "binding", "revocation", "reason"),
    [
        (ask(timedelta(hours=1)), None, None, Reason.EXPIRED),
        (ask(spki="k2"), bound(), None, Reason.REPLAYED),
        (ask(service="api"), bound(), None, Reason.WRONG_SERVICE),
        (ask(timedelta(days=90)), bound(), None, Reason.EXPIRED),
        (ask(), bound(revoked_at=NOW), None, Reason.REVOKED),
        (ask(), bound(), StoredRecord("t", 1, Record(revoked_at=NOW)), Reason.REVOKED),
        (ask(), None, StoredRecord("t", 1, Record(revoked_at=NOW)), Reason.REVOKED),
    ],
)
def test_everything_else_is_refused_with_its_reason(
    asked: Ask, binding: StoredRecord | None, revocation: StoredRecord | None, reason: Reason
) -> None:
    with pytest.raises(RefusedError) as error:
        decide(TOKEN, asked, binding, revocation, KEEP)
    assert error.value.reason is reason
    assert error.value.remedy
