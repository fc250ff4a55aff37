"""Requests, errors, logins and renewals against a real server."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from mesh.aio.clock import ManualClock
from mesh.clients.vault import (
    AppRole,
    AuthMethod,
    Jwt,
    Token,
    TokenFile,
    VaultClient,
    VaultForbiddenError,
    VaultLoginError,
    VaultRefusedError,
    VaultSealedError,
    VaultSettings,
    VaultUnreachableError,
)
from mesh.demo.loopback import free_ports
from mesh.model.violations import InvalidInputError
from tests.realvault import RealVault


async def _until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(15):
        while True:
            if condition():
                return
            await asyncio.sleep(0.01)


def _approle(vault: RealVault, directory: Path, **options: object) -> AppRole:
    name = directory.name
    vault.write(f"auth/approle/role/{name}", {"token_policies": ["default"], **options})
    role_id = vault.read(f"auth/approle/role/{name}/role-id").data["role_id"]
    secret = vault.write(f"auth/approle/role/{name}/secret-id").data["secret_id"]
    (directory / "secret-id").write_text(f"{secret}\n")
    return AppRole(role_id=role_id, secret_id_file=directory / "secret-id")


async def _lookup(client: VaultClient) -> str:
    return str((await client.read("auth/token/lookup-self")).data["accessor"])


async def test_a_token_file_logs_in(vault: RealVault, tmp_path: Path) -> None:
    (tmp_path / "token").write_text(vault.root_token + "\n")
    client = VaultClient(vault.settings, TokenFile(tmp_path / "token"))
    await client.start()
    assert "secret/" in (await client.read("sys/mounts")).data
    assert await client.find("sys/policies/acl/none") is None
    assert await client.list("secret/metadata/none") == ()
    await client.close()


async def test_an_approle_logs_in(vault: RealVault, tmp_path: Path) -> None:
    client = VaultClient(vault.settings, _approle(vault, tmp_path))
    await client.start()
    assert await _lookup(client)
    await client.close()


async def test_a_refused_login_says_where(vault: RealVault, tmp_path: Path) -> None:
    auth = _approle(vault, tmp_path)
    auth.secret_id_file.write_text("wrong")
    client = VaultClient(vault.settings, auth)
    with pytest.raises(VaultLoginError, match=r"auth/approle/login: .*check the ids"):
        await client.start()
    await client.close()


@pytest.mark.parametrize(
    ("content", "reason"), [(None, "No such file"), ("", "is empty"), ("s.dead", "does not know")]
)
async def test_a_bad_token_file_is_told(
    vault: RealVault, tmp_path: Path, content: str | None, reason: str
) -> None:
    if content is not None:
        (tmp_path / "token").write_text(content)
    client = VaultClient(vault.settings, TokenFile(tmp_path / "token"))
    with pytest.raises(VaultLoginError, match=reason):
        await client.start()
    await client.close()


@pytest.mark.parametrize(
    ("auth", "paths"),
    [
        (TokenFile(Path()), {"path"}),
        (AppRole(secret_id_file=Path()), {"role_id", "secret_id_file"}),
        (
            AppRole(secret_id_file=Path("x"), role_id="a", role_id_file=Path("b"), mount=""),
            {"role_id", "mount"},
        ),
        (Jwt(role="", token_file=Path()), {"role", "token_file"}),
        (Token(""), {"value"}),
    ],
)
def test_missing_options_are_all_told(auth: AuthMethod, paths: set[str]) -> None:
    with pytest.raises(InvalidInputError) as refused:
        VaultClient(VaultSettings("http://127.0.0.1:1"), auth)
    assert {violation.path for violation in refused.value.violations} == paths


async def test_a_jwt_is_posted_with_its_role(vault: RealVault, tmp_path: Path) -> None:
    (tmp_path / "jwt").write_text("a.b.c")
    client = VaultClient(vault.settings, Jwt(role="mesh", token_file=tmp_path / "jwt", mount="k8s"))
    with pytest.raises(VaultLoginError, match="auth/k8s/login"):
        await client.start()
    await client.close()


async def test_what_is_forbidden_names_the_missing_stanza(vault: RealVault, tmp_path: Path) -> None:
    client = VaultClient(vault.settings, _approle(vault, tmp_path))
    await client.start()
    with pytest.raises(VaultForbiddenError) as refused:
        await client.write("pki/root/sign-intermediate", {})
    assert refused.value.stanza == (
        'path "pki/root/sign-intermediate" {\n  capabilities = ["update"]\n}\n'
    )
    await client.close()


async def test_a_refused_request_gives_vaults_reasons(vault: RealVault) -> None:
    client = VaultClient(vault.settings, Token(vault.root_token))
    await client.start()
    with pytest.raises(VaultRefusedError, match=r"status 400.*mesh vault setup") as refused:
        await client.write("sys/mounts/x", {"type": "nonsense"})
    assert refused.value.reasons
    await client.close()


async def test_a_vault_that_is_not_there_is_unreachable() -> None:
    address = f"http://127.0.0.1:{free_ports(1)[0]}"
    client = VaultClient(VaultSettings(address), Token("x"))
    with pytest.raises(VaultUnreachableError, match=r"does not answer.*refused"):
        await client.start()
    await client.close()


async def test_a_sealed_vault_says_so(vault: RealVault) -> None:
    client = VaultClient(vault.settings, Token(vault.root_token))
    await client.start()
    vault.seal()
    try:
        with pytest.raises(VaultSealedError, match="unseal"):
            await client.read("sys/mounts")
    finally:
        vault.unseal()
    await client.read("sys/mounts")
    await client.close()


async def test_warnings_are_told(vault: RealVault) -> None:
    told: list[tuple[str, str]] = []
    client = VaultClient(
        vault.settings,
        Token(vault.token(policies=["default"], ttl="1h", explicit_max_ttl="2h")),
        on_warning=lambda path, warning: told.append((path, warning)),
    )
    await client.start()
    await client.write("auth/token/renew-self", {"increment": "100h"})
    assert [path for path, _ in told] == ["auth/token/renew-self"]
    assert "max_ttl" in told[0][1]
    await client.close()


async def test_a_dead_token_is_replaced_and_the_request_sent_again(
    vault: RealVault, tmp_path: Path
) -> None:
    client = VaultClient(vault.settings, _approle(vault, tmp_path))
    await client.start()
    before = await _lookup(client)
    vault.write("auth/token/revoke-accessor", {"accessor": before})
    after = await asyncio.gather(*(_lookup(client) for _ in range(5)))
    assert len(set(after)) == 1
    assert after[0] != before
    await client.close()


async def test_a_token_is_renewed_at_half_life_and_keeps_its_name(
    vault: RealVault, tmp_path: Path
) -> None:
    clock = ManualClock()
    auth = _approle(vault, tmp_path, token_ttl="4m")
    client = VaultClient(vault.settings, auth, clock=clock)
    await client.start()
    before = await client.read("auth/token/lookup-self")
    await clock.sleeping()
    await clock.advance(120)
    await clock.sleeping()
    after = await client.read("auth/token/lookup-self")
    assert after.data["accessor"] == before.data["accessor"]
    assert after.data["last_renewal_time"] > 0
    await client.close()


async def test_a_refused_renewal_leads_to_a_login(vault: RealVault, tmp_path: Path) -> None:
    clock = ManualClock()
    auth = _approle(vault, tmp_path, token_ttl="4m")
    client = VaultClient(vault.settings, auth, clock=clock)
    await client.start()
    before = await _lookup(client)
    vault.write("auth/token/revoke-accessor", {"accessor": before})  # renewal is refused
    await clock.sleeping()
    await clock.advance(120)
    await clock.sleeping()
    assert await _lookup(client) != before
    assert client.trouble == ""
    await client.close()


async def test_an_outage_is_trouble_until_it_ends(vault: RealVault, tmp_path: Path) -> None:
    clock = ManualClock()
    client = VaultClient(vault.settings, _approle(vault, tmp_path, token_ttl="4m"), clock=clock)
    await client.start()
    await clock.sleeping()
    vault.seal()
    try:
        await clock.advance(120)
        await _until(lambda: bool(client.trouble))
    finally:
        vault.unseal()
    assert "sealed" in client.trouble
    await clock.sleeping()
    await clock.advance(60)
    await _until(lambda: not client.trouble)
    await client.close()


def test_without_hvac_the_extra_is_named() -> None:
    script = (
        "import sys; sys.modules['hvac'] = None\n"
        "from mesh.clients.vault import *\n"
        "try: VaultClient(VaultSettings('http://127.0.0.1:1'), Token('x'))\n"
        "except HvacMissingError as error: print(error)\n"
    )
    said = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    ).stdout
    assert "consul-mesh[vault]" in said
