"""Prepares a Vault for the mesh: compares it with a :class:`Layout` and adds what is missing.

Each step reads, then writes only where it must, so that running it again changes nothing and a
dry run is the same run without the writes.  Nothing that somebody else made is taken away: an
existing root stays, a longer TTL stays.
"""

from __future__ import annotations

import asyncio
import enum
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from mesh.ca.bundle import TrustBundle
from mesh.ca.issuer import IssuerError
from mesh.ca.local import INTERMEDIATE_TTL
from mesh.ca.vault import mount_roots, path_to_root
from mesh.ca.vault_layout import LEAF_MAX_TTL, POLICY, Layout, seconds
from mesh.clients.vault import VaultClient
from mesh.clients.vault.pki import Pki

ROLE_ID_FILE: Final = "role-id"
SECRET_ID_FILE: Final = "secret-id"
_APPROLE_MOUNT: Final = "approle"


class SetupError(IssuerError):
    """Something stands in the way of preparing Vault."""


class State(enum.StrEnum):
    """What became of one thing."""

    CREATED = "created"
    UPDATED = "updated"
    PRESENT = "already there"
    WOULD_CREATE = "would be created"
    WOULD_UPDATE = "would be updated"


@dataclass(frozen=True, slots=True)
class Step:
    """One thing that Vault (or the disk) shall hold."""

    what: str
    where: str
    state: State


@dataclass(frozen=True, slots=True)
class SetupReport:
    """What was done.  ``fingerprint`` is the root's, empty where a dry run found none."""

    steps: tuple[Step, ...]
    policy_name: str
    policy: str
    fingerprint: str


async def prepare(client: VaultClient, layout: Layout, *, dry_run: bool = False) -> SetupReport:
    """Make Vault hold all of ``layout``.

    Raises:
        SetupError: something else is where the mesh's things belong.
        VaultError: Vault is not there, or the token may not do this.
        IssuerError: the root that exists cannot be used.

    """
    run = _Run(client, layout, dry_run)
    await run.mount()
    await run.root()
    for name, role in layout.roles.items():
        await run.ensure("PKI role", f"{layout.mount}/roles/{name}", role)
    await run.policy()
    if layout.approle_directory is not None:
        await run.approle(layout.approle_directory)
    return SetupReport(tuple(run.steps), POLICY, layout.policy, run.fingerprint)


@dataclass(slots=True)
class _Run:
    client: VaultClient
    layout: Layout
    dry_run: bool
    steps: list[Step] = field(default_factory=list)
    fingerprint: str = ""

    def present(self, what: str, where: str) -> None:
        self.steps.append(Step(what, where, State.PRESENT))

    async def create(self, what: str, where: str, path: str, body: Mapping[str, Any]) -> None:
        self.steps.append(Step(what, where, State.WOULD_CREATE if self.dry_run else State.CREATED))
        if not self.dry_run:
            await self.client.write(path, body)

    async def update(self, what: str, where: str, path: str, body: Mapping[str, Any]) -> None:
        self.steps.append(Step(what, where, State.WOULD_UPDATE if self.dry_run else State.UPDATED))
        if not self.dry_run:
            await self.client.write(path, body)

    async def ensure(self, what: str, path: str, body: Mapping[str, Any]) -> None:
        """Make ``path`` hold at least what ``body`` says."""
        found = await self.client.find(path)
        if found is None:
            await self.create(what, path, path, body)
        elif any(found.data.get(key) != value for key, value in body.items()):
            await self.update(what, path, path, body)
        else:
            self.present(what, path)

    async def mount(self) -> None:
        mount = self.layout.mount
        mounts = (await self.client.read("sys/mounts")).data
        longest = seconds(self.layout.root_ttl)
        found = mounts.get(f"{mount}/")
        if found is None:
            config = {"max_lease_ttl": longest, "default_lease_ttl": seconds(INTERMEDIATE_TTL)}
            await self.create(
                "PKI mount", mount, f"sys/mounts/{mount}", {"type": "pki", "config": config}
            )
            return
        if found["type"] != "pki":
            raise SetupError(
                f"{mount}/ is a mount of type {found['type']!r}, not pki",
                remedy="choose another with --mount",
            )
        # A mount that has a root already needs room for what will be signed there only.
        has_root = bool(await Pki(self.client, mount).issuers())
        signed = max(INTERMEDIATE_TTL, LEAF_MAX_TTL)
        needed = signed if has_root else max(signed, self.layout.root_ttl)
        tuned = (await self.client.read(f"sys/mounts/{mount}/tune")).data
        if tuned["max_lease_ttl"] < needed.total_seconds():
            body = {"max_lease_ttl": seconds(needed)}
            await self.update("PKI mount", mount, f"sys/mounts/{mount}/tune", body)
        else:
            self.present("PKI mount", mount)

    async def root(self) -> None:
        pki = Pki(self.client, self.layout.mount)
        if not await pki.issuers():
            path = f"{self.layout.mount}/root/generate/internal"
            await self.create("root CA", f"{self.layout.mount}/issuers", path, self.layout.root)
            if self.dry_run:
                return
        else:
            self.present("root CA", f"{self.layout.mount}/issuers")
        signing, roots = await mount_roots(pki)
        _, root = path_to_root(signing[0], signing, self.layout.mount)
        bundle = TrustBundle.of((root, *roots), self.layout.trust_domain)
        self.fingerprint = bundle.fingerprint

    async def policy(self) -> None:
        path = f"sys/policies/acl/{POLICY}"
        await self.ensure("policy", path, {"policy": self.layout.policy})

    async def approle(self, directory: Path) -> None:
        enabled = (await self.client.read("sys/auth")).data
        if f"{_APPROLE_MOUNT}/" in enabled:
            self.present("auth method", _APPROLE_MOUNT)
        else:
            body = {"type": "approle"}
            await self.create("auth method", _APPROLE_MOUNT, f"sys/auth/{_APPROLE_MOUNT}", body)
        role = f"auth/{_APPROLE_MOUNT}/role/{POLICY}"
        await self.ensure("AppRole", role, self.layout.approle)
        await self.approle_files(role, directory)

    async def approle_files(self, role: str, directory: Path) -> None:
        role_file, secret_file = directory / ROLE_ID_FILE, directory / SECRET_ID_FILE
        if self.dry_run:
            for what, path in (("role id", role_file), ("secret id", secret_file)):
                state = State.PRESENT if await _read(path) else State.WOULD_CREATE
                self.steps.append(Step(what, str(path), state))
            return
        role_id = str((await self.client.read(f"{role}/role-id")).data["role_id"])
        await self.file("role id", role_file, role_id)
        known = await _read(secret_file)
        if known and await self.secret_lives(role, known):
            self.present("secret id", str(secret_file))
            return
        answer = await self.client.write(f"{role}/secret-id")
        await self.file("secret id", secret_file, str(answer.data["secret_id"]))

    async def secret_lives(self, role: str, secret: str) -> bool:
        answer = await self.client.write(f"{role}/secret-id/lookup", {"secret_id": secret})
        return bool(answer.data)

    async def file(self, what: str, path: Path, content: str) -> None:
        found = await _read(path)
        if found == content:
            self.present(what, str(path))
            return
        try:
            await asyncio.to_thread(_write, path, content)
        except OSError as error:
            raise SetupError(
                f"{path} cannot be written: {error.strerror}",
                remedy="name another directory with --approle",
            ) from error
        self.steps.append(Step(what, str(path), State.UPDATED if found else State.CREATED))


async def _read(path: Path) -> str:
    def read() -> str:
        return path.read_text().strip() if path.exists() else ""

    try:
        return await asyncio.to_thread(read)
    except (OSError, UnicodeDecodeError):
        return ""  # unreadable: writing it will say why


def _write(path: Path, content: str) -> None:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.new")
    temporary.unlink(missing_ok=True)
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(content + "\n")
    temporary.replace(path)
