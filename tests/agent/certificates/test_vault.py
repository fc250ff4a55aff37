"""What a gateway asks of Vault: logins, refusals, and answers that are none."""

from __future__ import annotations

import dataclasses
import os
import ssl
from pathlib import Path

import pytest

from mesh.agent.certificates.session import VaultError
from mesh.agent.certificates.vault import Vault
from mesh.agent.settings import Vault as Settings
from mesh.agent.state import StateDir
from mesh.aio.clock import ManualClock
from mesh.aio.tasks import Tasks
from mesh.model.certificates import CertificateSource, Keep
from tests.agent.certificates.fakevault import LOGIN, LOOKUP, FakeVault
from tests.agent.certificates.keeping import keeper
from tests.agent.pki import Authority
from tests.edge.vault import Vault as GatewayVault
from tests.waiting import until

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


async def test_all_who_wait_share_one_login_and_its_refusal(
    vault: FakeVault, clock: ManualClock
) -> None:
    client = Vault(vault.settings, clock)
    vault.keep("shop", *vault.leaf("shop.test"))
    vault.open.clear()
    vault.answers[LOGIN] = (400, {"errors": ["invalid role or secret ID"]})
    async with Tasks("calls") as tasks:
        calls = [tasks.spawn("read", outcome(client)) for _ in range(20)]
        await until(lambda: vault.asked[LOGIN] > 0)
        vault.open.set()
        told = [await call for call in calls]
    assert all("does not let the AppRole in: 400: invalid role" in one for one in told), told
    assert vault.asked[LOGIN] == 1
    # Whoever comes later asks anew, once for all.
    del vault.answers[LOGIN]
    vault.open.clear()
    async with Tasks("calls") as tasks:
        calls = [tasks.spawn("read", outcome(client)) for _ in range(20)]
        await until(lambda: vault.asked[LOGIN] > 1)
        vault.open.set()
        assert {await call for call in calls} == {""}
    assert vault.asked[LOGIN] == 2


async def test_what_a_policy_refuses_is_no_reason_to_log_in_again(
    vault: FakeVault, clock: ManualClock
) -> None:
    client = Vault(vault.settings, clock)
    vault.answers["secret/data/shop"] = (403, {"errors": ["permission denied"]})
    for _ in range(3):
        assert 'policy needs read on "secret/data/shop"' in await outcome(client)
        await clock.advance(60)
    assert (vault.asked[LOGIN], vault.asked[LOOKUP]) == (1, 2)


async def test_logins_are_seconds_apart_even_where_a_token_may_not_look_itself_up(
    vault: FakeVault, clock: ManualClock
) -> None:
    client = Vault(vault.settings, clock)
    vault.answers["secret/data/shop"] = vault.answers[LOOKUP] = (403, {"errors": []})
    for _ in range(20):
        assert "403" in await outcome(client)
        await clock.advance(1)
    assert vault.asked[LOGIN] == 2


async def test_a_token_file_is_not_tried_twice(
    vault: FakeVault, clock: ManualClock, tmp_path: Path
) -> None:
    (tmp_path / "token").write_text("t")
    client = Vault(Settings(address=vault.settings.address, token_file=tmp_path / "token"), clock)
    vault.answers["secret/data/shop"] = (403, {"errors": []})
    assert "403" in await outcome(client)
    assert vault.asked == {"secret/data/shop": 1}


async def test_a_real_token_that_ended_early_is_replaced_and_a_refused_one_kept(
    tmp_path: Path,
) -> None:
    clock = ManualClock()
    with GatewayVault.running(tmp_path / "vault") as real:
        settings = Settings(
            address=real.address, role_id_file=real.role_id, secret_id_file=real.secret_id
        )
        client = Vault(settings, clock)
        real.put("shop/tls", "shop.test")
        allowed = CertificateSource(Keep.KV, "secret", "shop/tls")
        forbidden = CertificateSource(Keep.KV, "secret", "other/tls")

        def tokens() -> set[str]:
            return set(real.server.read("auth/token/accessors?list=true").data["keys"])

        before = tokens()
        assert await outcome(client, allowed) == ""
        first = tokens() - before
        assert len(first) == 1
        await clock.advance(60)
        assert "permission denied" in await outcome(client, forbidden)
        assert tokens() - before == first
        real.server.write("auth/token/revoke-accessor", {"accessor": first.pop()})
        assert await outcome(client, allowed) == ""
        assert len(tokens() - before) == 1


async def test_whom_to_believe_is_read_again_when_it_has_changed_and_not_otherwise(
    clock: ManualClock, tmp_path: Path
) -> None:
    authority, stranger = Authority("vault.test"), Authority("other.test")
    for file, content in zip(
        ("pem", "key"), authority.leaf(uri="https://v", dns="localhost"), strict=True
    ):
        (tmp_path / file).write_text(content)
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain(tmp_path / "pem", tmp_path / "key")
    believed = tmp_path / "ca.pem"
    believed.write_text(authority.root)
    async with FakeVault.running(clock, tmp_path, tls) as vault:
        vault.keep("shop", *vault.leaf("shop.test"))
        client = Vault(dataclasses.replace(vault.settings, ca_file=believed), clock)
        assert await outcome(client) == ""
        was = believed.stat()
        # The same file as far as its directory tells.
        believed.write_text("x" * was.st_size)
        os.utime(believed, ns=(was.st_atime_ns, was.st_mtime_ns))
        assert await outcome(client) == ""
        believed.write_text(stranger.root)
        os.utime(believed, ns=(was.st_atime_ns, was.st_mtime_ns + 1))
        assert "certificate verify failed" in await outcome(client)
        believed.unlink()
        assert f"{believed} cannot be used: No such file" in await outcome(client)


async def outcome(client: Vault, source: CertificateSource = SHOP) -> str:
    """Return why a secret cannot be read; nothing if it can."""
    try:
        await client.read(source)
    except VaultError as error:
        return str(error)
    return ""
