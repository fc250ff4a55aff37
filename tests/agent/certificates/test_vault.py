"""What a gateway asks of Vault: logins, refusals, and answers that are none."""

from __future__ import annotations

import pytest

from mesh.agent.state import StateDir
from mesh.aio.clock import ManualClock
from mesh.model.certificates import CertificateSource, Keep
from tests.agent.certificates.fakevault import LOGIN, FakeVault
from tests.agent.certificates.keeping import keeper

SHOP = CertificateSource(Keep.KV, "secret", "shop")


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        (b"<html>", "Vault's answer cannot be read: the answer is not JSON"),
        (["token"], "answers a login with no token"),
        ({"auth": {"client_token": "two\nlines"}}, "answers a login with no token"),
        ({"auth": {"client_token": "t", "lease_duration": "1h"}}, "answers a login with no token"),
    ],
)
async def test_a_login_that_is_answered_oddly_is_tried_again(
    vault: FakeVault, state: StateDir, clock: ManualClock, answer: object, told: str
) -> None:
    vault.answers[LOGIN] = (200, answer)
    vault.keep("shop", *vault.leaf("shop.test"))
    async with keeper(vault.settings, state, clock) as found:
        await found.complains(SHOP, told)
        del vault.answers[LOGIN]
        await clock.advance(60)
        assert (await found.held(SHOP)).chain
