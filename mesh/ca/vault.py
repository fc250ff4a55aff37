"""Mode ``vault``: Vault signs a short-lived intermediate, and this process signs the leaves.

Vault is asked once in many hours and may be sealed or gone in between.  Its own limits are not
trusted: OpenBao signs intermediates that outlive their root, so the TTL is capped here, and what
comes back is checked (:mod:`mesh.ca.intermediates`).
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.x509.oid import NameOID

from mesh.aio.clock import Clock, SystemClock
from mesh.ca.bundle import InvalidBundleError, from_pem, is_root
from mesh.ca.certificates import CLOCK_SKEW
from mesh.ca.chain import UntrustedChainError, find_path
from mesh.ca.intermediates import SignedIntermediate
from mesh.ca.issuer import BadAnswerError, IssuerError, IssuerUnavailableError
from mesh.ca.local import INTERMEDIATE_TTL, LocalIssuer
from mesh.clients.vault import VaultClient, VaultError, VaultSealedError, VaultUnreachableError
from mesh.clients.vault.pki import Pki
from mesh.model.identity import ZoneId


class VaultSource:
    """Has a PKI mount of Vault sign a zone's intermediates.  Owns ``client``."""

    mode = "vault"

    def __init__(self, client: VaultClient, mount: str, *, clock: Clock | None = None) -> None:
        """Take a client that is not started yet and the PKI mount's path."""
        self._client = client
        self._pki = Pki(client, mount)
        self._clock = clock or SystemClock()

    @property
    def trouble(self) -> str:
        """Why Vault cannot be used in the long run, if it cannot."""
        return self._client.trouble

    async def open(self) -> None:
        """Log in to Vault.

        Raises:
            IssuerError: Vault is not there or refuses.

        """
        try:
            await self._client.start()
        except VaultError as error:
            await self._client.close()
            raise issuer_error(error) from error

    async def close(self) -> None:
        """End the client."""
        await self._client.close()

    async def sign_intermediate(
        self, csr: x509.CertificateSigningRequest, ttl: timedelta
    ) -> SignedIntermediate:
        """Have Vault sign ``csr``, for ``ttl`` or as long as the root lives if that is less.

        Raises:
            IssuerError: Vault is not there, refuses, or answers with something else.

        """
        try:
            signing, roots = await mount_roots(self._pki)
            capped = cap_to(ttl, signing, self._clock)
            name = csr.subject.get_attributes_for_oid(NameOID.COMMON_NAME)[0].value
            text = csr.public_bytes(serialization.Encoding.PEM).decode()
            signed = await self._pki.sign_intermediate(text, str(name), capped)
        except VaultError as error:
            raise issuer_error(error) from error
        certificate, *above = parse([signed.certificate, *signed.ca_chain], self._pki.mount)
        path, root = path_to_root(certificate, (*above, *signing, *roots), self._pki.mount)
        return SignedIntermediate(path, root, (root, *roots), signed.warnings)


def vault_issuer(
    client: VaultClient,
    zone: ZoneId,
    *,
    mount: str = "pki",
    intermediate_ttl: timedelta = INTERMEDIATE_TTL,
    clock: Clock | None = None,
) -> LocalIssuer:
    """Make the issuer whose intermediates are signed at ``mount``; it owns ``client``."""
    source = VaultSource(client, mount, clock=clock)
    return LocalIssuer(zone, source, intermediate_ttl=intermediate_ttl, clock=clock)


async def mount_roots(
    pki: Pki,
) -> tuple[tuple[x509.Certificate, ...], tuple[x509.Certificate, ...]]:
    """Return the default issuer with what is above it, and every root of the mount.

    Raises:
        IssuerError: the mount has no issuer, or one that cannot be read.

    """
    issuers = await pki.issuers()
    if not issuers:
        raise IssuerError(
            f"the PKI mount {pki.mount!r} has no issuer", remedy="make one: mesh vault setup"
        )
    signing = parse(await pki.issuer(), pki.mount)
    others = [each for issuer in issuers for each in parse(await pki.issuer(issuer), pki.mount)]
    return signing, tuple(dict.fromkeys(each for each in others if is_root(each)))


def cap_to(ttl: timedelta, signing: Iterable[x509.Certificate], clock: Clock) -> timedelta:
    """Return ``ttl``, or a little less than is left of the issuers' life if that is less.

    Raises:
        IssuerError: nothing is left.

    """
    now = clock.now()
    left = min(each.not_valid_after_utc for each in signing) - now
    if left < timedelta(seconds=1):
        raise IssuerError("Vault's issuer or its root has expired", remedy="rotate the root")
    # Vault counts from its own clock, and refuses a leaf that would outlive its issuer.
    return min(ttl, left - min(CLOCK_SKEW, left / 10))


def parse(pems: Iterable[str], mount: str) -> tuple[x509.Certificate, ...]:
    """Read certificates that Vault sent, each once.

    Raises:
        BadAnswerError: one cannot be read.

    """
    try:
        return tuple(dict.fromkeys(each for pem in pems for each in from_pem(pem)))
    except InvalidBundleError as error:
        raise BadAnswerError(
            f"Vault's mount {mount!r} sent what is no certificate: {error}",
            remedy="check that it is a PKI mount and that no proxy changes answers",
        ) from error


def path_to_root(
    certificate: x509.Certificate, candidates: Iterable[x509.Certificate], mount: str
) -> tuple[tuple[x509.Certificate, ...], x509.Certificate]:
    """Return the chain from ``certificate`` to below its root, and the root.

    Raises:
        BadAnswerError: Vault does not know the root.

    """
    try:
        return find_path(certificate, candidates)
    except UntrustedChainError as error:
        raise BadAnswerError(
            f"Vault's mount {mount!r} does not know its own root: {error}",
            remedy=f"import the root's certificate there: vault write {mount}/issuers/import/cert",
        ) from error


def issuer_error(error: VaultError) -> IssuerError:
    """Say in an issuer's terms what went wrong with Vault."""
    kind = (
        IssuerUnavailableError
        if isinstance(error, VaultUnreachableError | VaultSealedError)
        else IssuerError
    )
    message = str(error).removesuffix(f"; {error.remedy}")
    return kind(message, remedy=error.remedy)
