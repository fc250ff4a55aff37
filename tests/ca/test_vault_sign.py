"""Mode ``vault-sign``: each leaf from a real OpenBao, compared with what was asked."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, ed25519

from mesh.ca.bundle import from_pem
from mesh.ca.issuer import BadAnswerError, IssuerError, IssuerUnavailableError
from mesh.ca.vault_layout import Layout, Mode
from mesh.ca.vault_sign import WORKLOAD_ROLE, VaultSignIssuer
from mesh.clients.vault import VaultClient
from mesh.model.identity import WorkloadId
from tests.ca.making import WEB, ZONE, Key, check_leaf, checked, p256, uri
from tests.realvault import RealVault

DAY = timedelta(hours=24)


@pytest.fixture
def prepared(vault: RealVault, mount: str) -> str:
    """Return a mount with the roles as setup makes them."""
    for name, role in Layout("mesh.test", mount, Mode.VAULT_SIGN).roles.items():
        vault.write(f"{mount}/roles/{name}", role)
    return mount


@pytest.mark.parametrize(
    "key",
    [p256(), ec.generate_private_key(ec.SECP384R1()), ed25519.Ed25519PrivateKey.generate()],
    ids=["p256", "p384", "ed25519"],
)
async def test_vault_signs_the_leaf(client: VaultClient, prepared: str, key: Key) -> None:
    issuer = VaultSignIssuer(client, ZONE, mount=prepared)
    await issuer.start()
    issued = await issuer.sign(checked(WEB, key), DAY)
    check_leaf(issued, issuer, [uri(WEB.uri)])
    assert len(from_pem(issued.chain_pem)) == 1
    assert issuer.status().mode == "vault-sign"
    assert issuer.status().warnings == ()
    await issuer.close()


async def test_the_zone_has_its_own_identity(client: VaultClient, prepared: str) -> None:
    issuer = VaultSignIssuer(client, ZONE, mount=prepared)
    await issuer.start()
    identity = await issuer.zone_identity()
    leaf = from_pem(identity.chain_pem)[0]
    assert leaf.public_key() == identity.private_key.public_key()
    names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert set(names) == {uri(ZONE.uri), x509.DNSName(ZONE.server_name)}
    await issuer.close()


async def test_a_life_longer_than_the_roles_is_cut_with_a_warning(
    client: VaultClient, prepared: str
) -> None:
    issuer = VaultSignIssuer(client, ZONE, mount=prepared)
    await issuer.start()
    issued = await issuer.sign(checked(), 30 * DAY)
    assert issued.not_after - issued.not_before < 4 * DAY
    assert any("maxTTL" in warning for warning in issuer.status().warnings)
    await issuer.close()


async def test_a_leaf_never_outlives_the_root(
    vault: RealVault, client: VaultClient, prepared: str
) -> None:
    vault.delete(f"{prepared}/root")
    root = {"common_name": "brief", "key_type": "ec", "ttl": "1h"}
    vault.write(f"{prepared}/root/generate/internal", root)
    issuer = VaultSignIssuer(client, ZONE, mount=prepared)
    await issuer.start()
    issued = await issuer.sign(checked(), DAY)
    assert issued.not_after <= issuer.status().roots[0].not_after
    await issuer.close()


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"server_flag": False}, "client and server authentication only"),
        ({"code_signing_flag": True}, "client and server authentication only"),
        ({"use_csr_common_name": True, "allow_any_name": True, "organization": ["x"]}, "subject"),
    ],
)
async def test_a_role_that_signs_something_else_is_noticed(
    vault: RealVault, client: VaultClient, prepared: str, change: dict[str, Any], reason: str
) -> None:
    issuer = VaultSignIssuer(client, ZONE, mount=prepared)
    await issuer.start()
    path = f"{prepared}/roles/{WORKLOAD_ROLE}"
    vault.write(path, {**vault.read(path).data, **change})
    with pytest.raises(BadAnswerError, match=f"{reason}.*mesh vault setup"):
        await issuer.sign(checked(), DAY)
    await issuer.close()


async def test_the_role_refuses_what_is_no_workload_of_the_mesh(
    vault: RealVault, client: VaultClient, prepared: str
) -> None:
    issuer = VaultSignIssuer(client, ZONE, mount=prepared)
    await issuer.start()
    with pytest.raises(IssuerError, match=r"not of the trust domain mesh\.test"):
        await issuer.sign(checked(WorkloadId("other.test", "dc1", "web")), DAY)
    path = f"{prepared}/roles/{WORKLOAD_ROLE}"
    vault.write(path, {**vault.read(path).data, "allowed_uri_sans": ["spiffe://other.test/*"]})
    with pytest.raises(IssuerError, match="Vault refused"):
        await issuer.sign(checked(), DAY)
    await issuer.close()


async def test_a_sealed_vault_signs_nothing_and_the_zone_keeps_its_identity(
    vault: RealVault, client: VaultClient, prepared: str
) -> None:
    issuer = VaultSignIssuer(client, ZONE, mount=prepared)
    await issuer.start()
    identity = await issuer.zone_identity()
    vault.seal()
    try:
        with pytest.raises(IssuerUnavailableError, match="unseal"):
            await issuer.sign(checked(), DAY)
        assert any("unseal" in warning for warning in issuer.status().warnings)
        assert await issuer.zone_identity() is identity
    finally:
        vault.unseal()
    await issuer.sign(checked(), DAY)
    assert issuer.status().warnings == ()
    await issuer.close()
