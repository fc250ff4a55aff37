"""Mode ``vault``: intermediates from a real OpenBao, and its absence."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest
from cryptography import x509

from mesh.aio.clock import ManualClock, SystemClock
from mesh.ca.bundle import fingerprint, from_pem
from mesh.ca.issuer import IssuerError, IssuerUnavailableError
from mesh.ca.vault import vault_issuer
from mesh.clients.vault import AppRole, Token, VaultClient, VaultSettings
from tests.ca.making import WEB, ZONE, check_leaf, checked, uri
from tests.realvault import RealVault
from tests.waiting import until

DAY = timedelta(hours=24)


async def test_vault_signs_the_intermediate_and_the_zone_the_leaf(
    client: VaultClient, mount: str
) -> None:
    issuer = vault_issuer(client, ZONE, mount=mount)
    await issuer.start()
    issued = await issuer.sign(checked(), DAY)
    check_leaf(issued, issuer, [uri(WEB.uri)])
    _, intermediate = from_pem(issued.chain_pem)
    extensions = intermediate.extensions
    assert extensions.get_extension_for_class(x509.BasicConstraints).value.path_length == 0
    names = extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert list(names) == [uri("spiffe://mesh.test")]
    status = issuer.status()
    assert status.mode == "vault"
    assert status.warnings == ()
    zone = await issuer.zone_identity()
    assert len(from_pem(zone.chain_pem)) == 2
    await issuer.close()


async def test_an_intermediate_never_outlives_its_root(
    vault: RealVault, client: VaultClient, mount: str
) -> None:
    vault.delete(f"{mount}/root")
    root = {"common_name": "brief", "key_type": "ec", "ttl": "1h"}
    vault.write(f"{mount}/root/generate/internal", root)
    issuer = vault_issuer(client, ZONE, mount=mount)
    await issuer.start()
    issued = await issuer.sign(checked(), DAY)
    _, intermediate = from_pem(issued.chain_pem)
    end = issuer.status().roots[0].not_after
    assert intermediate.not_valid_after_utc <= end
    assert issued.not_after <= end
    assert any("lives only until" in warning for warning in issuer.status().warnings)
    await issuer.close()


async def test_a_ttl_that_vault_cuts_is_warned_of(
    vault: RealVault, client: VaultClient, mount: str
) -> None:
    vault.write(f"sys/mounts/{mount}/tune", {"max_lease_ttl": "2h"})
    issuer = vault_issuer(client, ZONE, mount=mount)
    await issuer.start()
    warnings = issuer.status().warnings
    assert any("raise the maximum TTL of the mount" in warning for warning in warnings)
    issued = await issuer.sign(checked(), DAY)
    assert issued.not_after == issuer.status().intermediate_not_after
    await issuer.close()


async def test_a_sealed_vault_leaves_signing_working_until_the_intermediate_ends(
    vault: RealVault, mount: str
) -> None:
    clock = ManualClock(SystemClock().now())
    client = VaultClient(vault.settings, Token(vault.root_token), clock=clock)
    issuer = vault_issuer(client, ZONE, mount=mount, clock=clock)
    await issuer.start()
    await clock.sleeping(2)  # the issuer's and the client's
    vault.seal()
    try:
        await clock.advance(timedelta(hours=36).total_seconds())
        await until(lambda: bool(issuer.status().warnings))
        assert "could not be renewed and signs until" in issuer.status().warnings[0]
        assert "unseal" in issuer.status().warnings[0]
        check_leaf(await issuer.sign(checked(), DAY), issuer, [uri(WEB.uri)])
        await clock.advance(timedelta(hours=37).total_seconds())
        with pytest.raises(IssuerUnavailableError, match=r"expired.*unseal"):
            await issuer.sign(checked(), DAY)
    finally:
        vault.unseal()
        await issuer.close()


async def test_renewal_resumes_when_vault_is_back(vault: RealVault, mount: str) -> None:
    clock = ManualClock(SystemClock().now())
    client = VaultClient(vault.settings, Token(vault.root_token), clock=clock)
    issuer = vault_issuer(client, ZONE, mount=mount, intermediate_ttl=DAY, clock=clock)
    await issuer.start()
    await clock.sleeping(2)
    before = (await issuer.sign(checked(), DAY)).chain_pem
    vault.seal()
    try:
        # Vault keeps the real time: go no further than its certificates' validity allows.
        await clock.advance(timedelta(hours=12).total_seconds())
        await until(lambda: bool(issuer.status().warnings))
    finally:
        vault.unseal()
    await clock.sleeping(2)
    await clock.advance(120)
    await until(lambda: not any("renewed" in each for each in issuer.status().warnings))
    after = (await issuer.sign(checked(), DAY)).chain_pem
    assert from_pem(after)[1] != from_pem(before)[1]
    await issuer.close()


async def test_an_approle_with_the_policy_survives_its_tokens_end(
    vault: RealVault, mount: str, tmp_path: Path
) -> None:
    allowed = f'path "{mount}/root/sign-intermediate" {{ capabilities = ["update"] }}'
    vault.write(f"sys/policies/acl/{mount}", {"policy": allowed})
    if "approle/" not in vault.read("sys/auth").data:
        vault.write("sys/auth/approle", {"type": "approle"})
    role = f"auth/approle/role/{mount}"
    vault.write(role, {"token_policies": [mount], "token_ttl": "1h"})
    (tmp_path / "role").write_text(vault.read(f"{role}/role-id").data["role_id"])
    (tmp_path / "secret").write_text(vault.write(f"{role}/secret-id").data["secret_id"])
    auth = AppRole(secret_id_file=tmp_path / "secret", role_id_file=tmp_path / "role")
    client = VaultClient(vault.settings, auth)
    issuer = vault_issuer(client, ZONE, mount=mount)
    await issuer.start()
    ended = (await client.read("auth/token/lookup-self")).data["accessor"]
    vault.write("auth/token/revoke-accessor", {"accessor": ended})
    await issuer.renew()
    assert (await client.read("auth/token/lookup-self")).data["accessor"] != ended
    await issuer.close()


async def test_a_second_root_is_published_behind_the_signing_one(
    vault: RealVault, client: VaultClient, mount: str
) -> None:
    issuer = vault_issuer(client, ZONE, mount=mount)
    await issuer.start()
    first = issuer.bundle()
    vault.write(
        f"{mount}/root/rotate/internal",
        {"common_name": "next", "issuer_name": "next", "key_type": "ec", "ttl": "8760h"},
    )
    await issuer.renew()
    both = issuer.bundle()
    assert len(both.roots) == 2
    assert both.fingerprint == first.fingerprint == fingerprint(both.roots[0])
    vault.write(f"{mount}/root/replace", {"default": "next"})
    await issuer.renew()
    assert issuer.bundle().fingerprint == fingerprint(both.roots[1])
    check_leaf(await issuer.sign(checked(), DAY), issuer, [uri(WEB.uri)])
    await issuer.close()


async def test_a_mount_without_a_root_says_what_to_do(
    vault: RealVault, client: VaultClient, mount: str
) -> None:
    vault.delete(f"{mount}/root")
    with pytest.raises(IssuerError, match=r"has no issuer; make one: mesh vault setup"):
        await vault_issuer(client, ZONE, mount=mount).start()


async def test_a_missing_policy_names_the_stanza(vault: RealVault, mount: str) -> None:
    client = VaultClient(vault.settings, Token(vault.token(policies=["default"])))
    with pytest.raises(IssuerError, match=f'path "{mount}/root/sign-intermediate"'):
        await vault_issuer(client, ZONE, mount=mount).start()


async def test_a_vault_that_is_not_there_is_unavailable() -> None:
    client = VaultClient(VaultSettings("http://127.0.0.1:1"), Token("x"))
    with pytest.raises(IssuerUnavailableError, match="does not answer"):
        await vault_issuer(client, ZONE).start()
