"""Asks an Envoy on this host whether it would take configurations, without running one.

Envoy is given each batch in a directory of its own making, with an identity that is worth nothing
in place of the proxy's files.  One is asked at a time, and only so much: a zone has other work.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import subprocess
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from mesh.controlplane.dryrun.batches import Batch, bootstrap
from mesh.envoy import files
from mesh.envoy.resource import Resource

FindEnvoy = Callable[[], Path | None]
"""Returns the Envoy of this host, None if there is none."""

MOST_RUNS: Final = 64
"""How often an Envoy is started for one dry run."""
PATIENCE: Final = 15.0
"""Seconds that all of them may take."""
NOT_HERE: Final = "not checked: no envoy here"
NOT_ALL: Final = "not everything was checked: too much would change at once"

_CONFIG: Final = "envoy.json"
_HEAD: Final = re.compile(r"^(?:\[[^\]]*\]\s*)+")
_PREFIX: Final = re.compile(r"^error initializing configuration '[^']*': ")
_EPOCH: Final = datetime(2020, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Refused:
    """Resources that Envoy would refuse, the proxy that would be sent them, and why."""

    resources: tuple[Resource, ...]
    proxy: str
    reason: str


@dataclass(frozen=True, slots=True)
class Verdict:
    """What an Envoy said; ``note`` tells what it was not asked."""

    refused: tuple[Refused, ...] = ()
    checked: int = 0
    unchecked: int = 0
    note: str = ""


async def ask(found: Path | None, batches: Sequence[Batch]) -> Verdict:
    """Ask the Envoy at ``found`` about ``batches``."""
    wanted = sum(batch.count for batch in batches)
    if found is None:
        return Verdict(unchecked=wanted, note=NOT_HERE)
    if not batches:
        return Verdict()
    with TemporaryDirectory(prefix="mesh-dry-run-") as directory:
        # Made by mkdtemp: nobody else may look inside.
        asking = _Asking(found, Path(directory))
        await asyncio.to_thread(asking.prepare)
        try:
            async with asyncio.timeout(PATIENCE):
                await asking.about(batches)
        except (_TooOftenError, TimeoutError):
            pass
    left = wanted - asking.checked
    return Verdict(tuple(asking.refused), asking.checked, left, NOT_ALL if left else "")


class _TooOftenError(Exception):
    """Envoy was asked as often as it may be."""


class _Asking:
    """One dry run: what was asked of Envoy, and what it said."""

    def __init__(self, binary: Path, directory: Path) -> None:
        self.refused: list[Refused] = []
        self.checked = 0
        self._binary, self._directory = binary, directory
        self._runs = 0

    def prepare(self) -> None:
        """Write the files that a proxy has and its configuration refers to."""
        key, certificate = _identity()
        (self._directory / "identity.key").write_bytes(key)
        for name in ("identity.pem", files.BUNDLE_FILE, files.SYSTEM_ROOTS):
            (self._directory / name).write_bytes(certificate)
        pair = {
            "certificate_chain": {"filename": "identity.pem"},
            "private_key": {"filename": "identity.key"},
        }
        self._secret(files.IDENTITY_SDS, files.IDENTITY_SECRET, {"tls_certificate": pair})
        roots = {"trusted_ca": {"filename": files.BUNDLE_FILE}}
        self._secret(files.BUNDLE_SDS, files.BUNDLE_SECRET, {"validation_context": roots})

    async def about(self, batches: Iterable[Batch]) -> None:
        for batch in batches:
            reason = await self._refusal(batch)
            if reason:
                await self._blame(batch, reason)
            self.checked += batch.count

    async def _blame(self, batch: Batch, reason: str) -> None:
        """Find out which of the batch's resources are refused."""
        if batch.count == 1:
            self._refuse(batch, reason)
            return
        before = len(self.refused)
        try:
            for half in batch.halves():
                why = await self._refusal(half)
                if why:
                    await self._blame(half, why)
        finally:
            if len(self.refused) == before:
                # None of them by itself, or there was no time to find out.
                self._refuse(batch, reason)

    def _refuse(self, batch: Batch, reason: str) -> None:
        resources = [resource for piece in batch.pieces for resource in piece.resources]
        self.refused.append(Refused(tuple(resources), batch.pieces[0].proxy, reason))

    async def _refusal(self, batch: Batch) -> str:
        """Return why Envoy would not take what is in ``batch``; empty if it would."""
        if self._runs >= MOST_RUNS:
            raise _TooOftenError
        self._runs += 1
        await asyncio.to_thread(self._write, batch)
        process = await asyncio.create_subprocess_exec(
            str(self._binary),
            *("--mode", "validate", "--config-path", _CONFIG, "--log-level", "error"),
            cwd=self._directory,
            env={"PATH": os.defpath},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )
        try:
            _, said = await process.communicate()
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        if process.returncode == 0:
            return ""
        return _reason(said.decode(errors="replace")) or f"exit code {process.returncode}"

    def _write(self, batch: Batch) -> None:
        known = [
            resource
            for each in self.refused
            # A proxy's own part of a name may be well where another's is not.
            if each.proxy == batch.pieces[0].proxy
            for resource in each.resources
        ]
        (self._directory / _CONFIG).write_text(json.dumps(bootstrap(batch, known)))

    def _secret(self, file: str, name: str, secret: dict[str, Any]) -> None:
        resource = {
            "@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret",
            "name": name,
            **secret,
        }
        (self._directory / file).write_text(json.dumps({"resources": [resource]}))


def _reason(said: str) -> str:
    """Return what Envoy says is wrong, without what its log puts in front of it."""
    lines = [_PREFIX.sub("", _HEAD.sub("", each)).strip() for each in said.splitlines()]
    return "\n".join(dict.fromkeys(filter(None, lines)))


def _identity() -> tuple[bytes, bytes]:
    """Return a key and a certificate (PEM) that nobody trusts."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "dry run")])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(_EPOCH)
        .not_valid_after(_EPOCH + timedelta(days=36_500))
        .sign(key, hashes.SHA256())
    )
    encoded = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    return encoded, certificate.public_bytes(serialization.Encoding.PEM)
