"""The CA of a mesh without Vault: a root on disk, for a laptop and for trials.

The root's certificate and key stand in one file, so that it exists whole or not at all; two
processes that start on the same directory race on creating that file, and the loser reads what
the winner wrote.
"""

from __future__ import annotations

import asyncio
import logging
import os
import stat
import tempfile
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from mesh.aio.clock import Clock, SystemClock
from mesh.ca import certificates
from mesh.ca.bundle import is_root, to_pem
from mesh.ca.certificates import Authority
from mesh.ca.intermediates import SignedIntermediate
from mesh.ca.issuer import IssuerError
from mesh.ca.local import INTERMEDIATE_TTL, LocalIssuer
from mesh.model.identity import ZoneId

logger = logging.getLogger(__name__)

ROOT_FILE: Final = "root.pem"
ROOT_TTL: Final = timedelta(days=3650)
_OTHERS: Final = stat.S_IRWXG | stat.S_IRWXO


class RootFileError(IssuerError):
    """The root on disk cannot be read, or others can read it."""


class BuiltinSource:
    """Signs intermediates with the root in ``directory``, which it makes if there is none."""

    mode = "builtin"
    trouble = ""

    def __init__(self, directory: Path, trust_domain: str, *, clock: Clock | None = None) -> None:
        """Take the directory that holds (or shall hold) the root of ``trust_domain``."""
        self._directory = directory
        self._trust_domain = trust_domain
        self._clock = clock or SystemClock()
        self._root: Authority | None = None

    async def open(self) -> None:
        """Read the root, or make it.

        Raises:
            RootFileError: it cannot be read or written, or others can read it.

        """
        self._root = await asyncio.to_thread(self._load_or_create)

    async def close(self) -> None:
        """Forget the key."""
        self._root = None

    async def sign_intermediate(
        self, csr: x509.CertificateSigningRequest, ttl: timedelta
    ) -> SignedIntermediate:
        """Sign with the root."""
        root = self._root
        if root is None:
            raise RootFileError("the root has not been read", remedy="open the source first")
        now = self._clock.now()
        if now >= root.not_after:
            raise RootFileError(
                f"the root in {self._directory / ROOT_FILE} expired at {root.not_after}",
                remedy="remove the file, restart every zone, and enrol every proxy again",
            )
        signed = certificates.intermediate(root, csr, self._trust_domain, now, ttl)
        return SignedIntermediate((signed,), root.root, (root.root,))

    def _load_or_create(self) -> Authority:
        path = self._directory / ROOT_FILE
        try:
            self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            _refuse_if_open(self._directory, "700")
            if not path.exists():
                self._create(path)
            _refuse_if_open(path, "600")
            return self._read(path)
        except OSError as error:
            raise RootFileError(
                f"the CA's root {path} cannot be used: {error.strerror or error}",
                remedy="name a directory that this user may write",
            ) from error

    def _create(self, path: Path) -> None:
        key = certificates.new_key()
        root = certificates.root(key, self._trust_domain, self._clock.now(), ROOT_TTL)
        text = to_pem([root]) + _key_pem(key)
        # mkstemp gives 0600 whatever the umask.
        descriptor, temporary = tempfile.mkstemp(dir=self._directory, prefix=".root-")
        try:
            with os.fdopen(descriptor, "w") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            # Unlike a rename, a link fails if somebody else was first: theirs is the root then.
            with suppress(FileExistsError):
                path.hardlink_to(temporary)
                _sync_directory(self._directory)
                logger.info("root created", extra={"path": str(path)})
        finally:
            Path(temporary).unlink()

    def _read(self, path: Path) -> Authority:
        data = path.read_bytes()
        try:
            certificate = x509.load_pem_x509_certificate(data)
            key = serialization.load_pem_private_key(data, password=None)
        except (ValueError, TypeError) as error:
            raise RootFileError(
                f"{path} does not hold a certificate and its key: {error}",
                remedy="restore it from a backup",
            ) from error
        if not isinstance(key, ec.EllipticCurvePrivateKey) or (
            key.public_key() != certificate.public_key() or not is_root(certificate)
        ):
            raise RootFileError(
                f"{path} does not hold a self-signed CA with its EC key",
                remedy="restore it from a backup",
            )
        self._check_trust_domain(path, certificate)
        return Authority(key, (), certificate)

    def _check_trust_domain(self, path: Path, certificate: x509.Certificate) -> None:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        uris = names.get_values_for_type(x509.UniformResourceIdentifier)
        if uris != [f"spiffe://{self._trust_domain}"]:
            raise RootFileError(
                f"{path} is the root of {', '.join(uris) or 'no trust domain'}, "
                f"not of spiffe://{self._trust_domain}",
                remedy="name another data directory, or set the trust domain that it has",
            )


def builtin_issuer(
    directory: Path,
    zone: ZoneId,
    *,
    intermediate_ttl: timedelta = INTERMEDIATE_TTL,
    clock: Clock | None = None,
) -> LocalIssuer:
    """Make the issuer whose root stands in ``directory``."""
    source = BuiltinSource(directory, zone.trust_domain, clock=clock)
    return LocalIssuer(zone, source, intermediate_ttl=intermediate_ttl, clock=clock)


def _refuse_if_open(path: Path, mode: str) -> None:
    found = stat.S_IMODE(path.stat().st_mode)
    if found & _OTHERS:
        raise RootFileError(
            f"{path} has mode {found:o}: others may reach the CA's private key",
            remedy=f"run: chmod {mode} {path}",
        )


def _sync_directory(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _key_pem(key: ec.EllipticCurvePrivateKey) -> str:
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    ).decode()
