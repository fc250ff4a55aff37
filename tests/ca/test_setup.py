"""``mesh vault setup`` on a real OpenBao: once, again, dry, and with exactly enough rights."""

from __future__ import annotations

import itertools
import json
import re
import stat
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner, Result

from mesh.ca.issuer import Issuer, IssuerError
from mesh.ca.setup import SetupError, State, prepare
from mesh.ca.vault import vault_issuer
from mesh.ca.vault_layout import POLICY, Layout, Mode
from mesh.ca.vault_sign import VaultSignIssuer
from mesh.cli.main import app
from mesh.clients.vault import AppRole, Token, VaultClient, VaultError, VaultForbiddenError
from tests.ca.making import ZONE, checked
from tests.realvault import RealVault

HOUR = timedelta(hours=1)
_numbers = itertools.count()


@pytest.fixture
def layout() -> Layout:
    """Return a layout on a mount that is not there yet."""
    return Layout("mesh.test", f"fresh{next(_numbers)}")


@pytest.fixture
async def root(client: VaultClient) -> AsyncIterator[VaultClient]:
    """Return a started client with the root token."""
    await client.start()
    yield client
    await client.close()


def _modes(directory: Path) -> dict[str, int]:
    return {each.name: stat.S_IMODE(each.stat().st_mode) for each in directory.glob("*")}


def _issuer(mode: Mode, client: VaultClient, mount: str) -> Issuer:
    if mode is Mode.VAULT:
        return vault_issuer(client, ZONE, mount=mount)
    return VaultSignIssuer(client, ZONE, mount=mount)


@pytest.mark.parametrize("mode", Mode)
async def test_setup_is_idempotent_and_a_dry_run_does_nothing(
    root: VaultClient, layout: Layout, tmp_path: Path, mode: Mode
) -> None:
    layout = replace(layout, mode=mode, approle_directory=tmp_path / "ids")
    dry = await prepare(root, layout, dry_run=True)
    assert f"{layout.mount}/" not in (await root.read("sys/mounts")).data
    assert _modes(tmp_path / "ids") == {}
    assert dry.fingerprint == ""
    first = await prepare(root, layout)
    assert [step.what for step in dry.steps] == [step.what for step in first.steps]
    pki = [step for step in first.steps if step.where.startswith(layout.mount)]
    assert {step.state for step in pki} == {State.CREATED}
    second = await prepare(root, layout)
    assert {step.state for step in second.steps} == {State.PRESENT}
    assert second.fingerprint == first.fingerprint
    assert {step.state for step in (await prepare(root, layout, dry_run=True)).steps} == {
        State.PRESENT
    }


@pytest.mark.parametrize("mode", Mode)
async def test_the_policy_is_enough(
    vault: RealVault, root: VaultClient, layout: Layout, mode: Mode
) -> None:
    layout = replace(layout, mode=mode)
    await prepare(root, layout)
    token = vault.token(policies=[POLICY], no_default_policy=True, ttl="1h")
    client = VaultClient(vault.settings, Token(token))
    issuer = _issuer(mode, client, layout.mount)
    await issuer.start()
    await issuer.sign(checked(), HOUR)
    await client.write("auth/token/renew-self")
    attempts: tuple[Callable[[], Awaitable[object]], ...] = (
        lambda: client.read("sys/mounts"),
        lambda: client.write(f"{layout.mount}/root/generate/internal", {"common_name": "x"}),
        lambda: client.write(f"{layout.mount}/roles/x", {}),
        lambda: client.delete(f"{layout.mount}/root"),
        lambda: client.write(f"{layout.mount}/root/sign-self-issued", {}),
        lambda: client.write("auth/token/create", {}),
        lambda: client.read("secret/data/x"),
    )
    for attempt in attempts:
        with pytest.raises(VaultForbiddenError):
            await attempt()
    other = "sign/mesh-workload" if mode is Mode.VAULT else "root/sign-intermediate"
    with pytest.raises(VaultForbiddenError):
        await client.write(f"{layout.mount}/{other}", {})
    await issuer.close()


@pytest.mark.parametrize("mode", Mode)
async def test_nothing_of_the_policy_is_too_much(
    vault: RealVault, root: VaultClient, layout: Layout, mode: Mode
) -> None:
    layout = replace(layout, mode=mode)
    await prepare(root, layout)
    rules = re.findall(r"path .*?\n}\n", layout.policy, re.DOTALL)
    assert len(rules) == layout.policy.count("path ")
    for index in range(len(rules)):
        name = f"{layout.mount}-{index}"
        vault.write(
            f"sys/policies/acl/{name}", {"policy": "".join(rules[:index] + rules[index + 1 :])}
        )
        token = vault.token(policies=[name], no_default_policy=True, ttl="1h")
        client = VaultClient(vault.settings, Token(token))
        issuer = _issuer(mode, client, layout.mount)
        with pytest.raises((VaultError, IssuerError)):  # noqa: PT012 - any of the four must fail
            await issuer.start()
            try:
                await issuer.sign(checked(), HOUR)
                await client.write("auth/token/renew-self")
            finally:
                await issuer.close()


async def test_the_approle_logs_in_and_signs(
    vault: RealVault, root: VaultClient, layout: Layout, tmp_path: Path
) -> None:
    directory = tmp_path / "ids"
    await prepare(root, replace(layout, approle_directory=directory))
    assert _modes(directory) == {"role-id": 0o600, "secret-id": 0o600}
    auth = AppRole(secret_id_file=directory / "secret-id", role_id_file=directory / "role-id")
    issuer = vault_issuer(VaultClient(vault.settings, auth), ZONE, mount=layout.mount)
    await issuer.start()
    await issuer.sign(checked(), HOUR)
    await issuer.close()


async def test_a_secret_id_that_died_is_replaced(
    root: VaultClient, layout: Layout, tmp_path: Path
) -> None:
    layout = replace(layout, approle_directory=tmp_path)
    await prepare(root, layout)
    (tmp_path / "secret-id").write_text("dead")
    steps = {step.what: step.state for step in (await prepare(root, layout)).steps}
    assert steps["secret id"] is State.UPDATED
    assert steps["role id"] is State.PRESENT


async def test_what_was_changed_is_put_right_and_a_root_is_kept(
    vault: RealVault, root: VaultClient, layout: Layout
) -> None:
    layout = replace(layout, mode=Mode.VAULT_SIGN)
    first = await prepare(root, layout)
    vault.write(
        f"sys/mounts/{layout.mount}/tune", {"max_lease_ttl": "1h", "default_lease_ttl": "1h"}
    )
    vault.write(f"{layout.mount}/roles/mesh-workload", {"allow_any_name": True})
    vault.write(f"sys/policies/acl/{POLICY}", {"policy": 'path "x" { capabilities = ["read"] }'})
    second = await prepare(root, layout)
    states = {step.where: step.state for step in second.steps}
    assert states == {
        layout.mount: State.UPDATED,
        f"{layout.mount}/issuers": State.PRESENT,
        f"{layout.mount}/roles/mesh-workload": State.UPDATED,
        f"{layout.mount}/roles/mesh-zone": State.PRESENT,
        f"sys/policies/acl/{POLICY}": State.UPDATED,
    }
    assert second.fingerprint == first.fingerprint


async def test_a_mount_of_another_type_is_refused(root: VaultClient) -> None:
    with pytest.raises(SetupError, match=r"type 'kv', not pki; choose another"):
        await prepare(root, Layout("mesh.test", "secret"))


Run = Callable[..., Result]


@pytest.fixture
def run(vault: RealVault, layout: Layout) -> Run:
    """Return ``mesh vault setup`` with the root token in the environment."""

    def invoke(*arguments: str, **environment: str) -> Result:
        fixed = ["vault", "setup", "--trust-domain", "mesh.test", "--mount", layout.mount]
        env = {"VAULT_ADDR": vault.address, "VAULT_TOKEN": vault.root_token, **environment}
        return CliRunner().invoke(app, [*fixed, *arguments], env=env)

    return invoke


def test_the_command_prints_what_it_made(run: Run, layout: Layout) -> None:
    done = run()
    assert done.exit_code == 0, done.output
    assert "root CA" in done.stdout
    assert "created" in done.stdout
    assert layout.policy in done.stdout
    assert "sha256:" in done.stdout
    again = run("-o", "json")
    document = json.loads(again.stdout)
    assert {step["state"] for step in document["steps"]} == {"already there"}
    assert document["policy"]["text"] == layout.policy
    assert yaml.safe_load(run("-o", "yaml").stdout) == document


def test_the_command_reads_a_token_file(run: Run, vault: RealVault, tmp_path: Path) -> None:
    (tmp_path / "token").write_text(vault.root_token)
    done = run("--dry-run", "--token-file", str(tmp_path / "token"), VAULT_TOKEN="")
    assert done.exit_code == 0, done.output
    assert "would be created" in done.stdout
    assert "not made yet" in done.stdout


def test_a_token_in_the_arguments_is_refused(run: Run) -> None:
    done = run("--token", "s.secret")
    assert done.exit_code == 2
    assert "VAULT_TOKEN" in done.output


@pytest.mark.parametrize(
    ("environment", "said"),
    [
        ({"VAULT_ADDR": "http://127.0.0.1:1"}, "does not answer"),
        ({"VAULT_TOKEN": "s.wrong"}, "does not know the token"),
        ({"VAULT_TOKEN": ""}, "set VAULT_TOKEN"),
    ],
)
def test_what_fails_is_told_with_a_remedy(run: Run, environment: dict[str, str], said: str) -> None:
    done = run(**environment)
    assert done.exit_code in {2, 3}
    assert said in done.output
