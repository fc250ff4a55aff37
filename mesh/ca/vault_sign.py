"""Mode ``vault-sign``: Vault signs each leaf, and no CA key is ever in this process.

The price is a request to Vault for every certificate, and none while Vault is away; certificates
that were issued live on.  A role in Vault limits what may be signed, but its globs cross ``/`` and
it may be edited by others: what comes back is therefore compared with what was asked.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from datetime import timedelta
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.x509.oid import ExtendedKeyUsageOID

from mesh.aio.backoff import Backoff
from mesh.aio.clock import Clock, SystemClock
from mesh.aio.tasks import Tasks
from mesh.ca import certificates, chain
from mesh.ca.bundle import TrustBundle
from mesh.ca.csr import CheckedCsr, PublicKey
from mesh.ca.describe import issued, root_statuses, root_warnings, zone_names
from mesh.ca.issuer import (
    BadAnswerError,
    Credentials,
    Issued,
    IssuerError,
    IssuerStatus,
    IssuerUnavailableError,
)
from mesh.ca.local import ZONE_TTL
from mesh.ca.vault import cap_to, issuer_error, mount_roots, parse, path_to_root
from mesh.clients.vault import VaultClient, VaultError
from mesh.clients.vault.pki import Pki, SignedPem
from mesh.model.identity import ZoneId

logger = logging.getLogger(__name__)

WORKLOAD_ROLE: Final = "mesh-workload"
"""Role that signs SVIDs."""
ZONE_ROLE: Final = "mesh-zone"
"""Role that signs the zones' own certificates."""
_ROOTS_EVERY: Final = timedelta(minutes=5)
_BOTH: Final = {ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH}


class VaultSignIssuer:
    """An issuer (:class:`mesh.ca.issuer.Issuer`) that has Vault sign.  Owns ``client``."""

    def __init__(
        self,
        client: VaultClient,
        zone: ZoneId,
        *,
        mount: str = "pki",
        workload_role: str = WORKLOAD_ROLE,
        zone_role: str = ZONE_ROLE,
        zone_ttl: timedelta = ZONE_TTL,
        clock: Clock | None = None,
    ) -> None:
        """Take a client that is not started yet, the zone, and the mount with its roles."""
        self._client = client
        self._pki = Pki(client, mount)
        self._zone = zone
        self._workload_role = workload_role
        self._zone_role = zone_role
        self._zone_ttl = zone_ttl
        self._clock = clock or SystemClock()
        self._tasks = Tasks("issuer")
        self._signing: tuple[x509.Certificate, ...] = ()
        self._bundle: TrustBundle | None = None
        self._identity: Credentials | None = None
        self._trouble = ""
        self._vault_warnings: tuple[str, ...] = ()

    async def start(self) -> None:
        """Log in, read the roots, and have the zone's own certificate signed."""
        try:
            await self._client.start()
            await self._read_roots()
            await self.zone_identity()
        except VaultError as error:
            await self._client.close()
            raise issuer_error(error) from error
        except IssuerError:
            await self._client.close()
            raise
        self._tasks.spawn("read the roots again", self._keep_roots(), forever=True)

    async def close(self) -> None:
        """Stop and forget the zone's key."""
        await self._tasks.close()
        await self._client.close()
        self._identity = None

    async def sign(self, csr: CheckedCsr, ttl: timedelta) -> Issued:
        """Have a leaf signed."""
        if csr.identity.trust_domain != self._zone.trust_domain:
            raise IssuerError(
                f"{csr.identity.uri} is not of the trust domain {self._zone.trust_domain}",
                remedy="ask a zone of its own mesh",
            )
        names = [x509.UniformResourceIdentifier(csr.identity.uri)]
        return await self._sign(self._workload_role, csr.pem, csr.public_key, names, ttl)

    async def zone_identity(self) -> Credentials:
        """Return the zone's own credentials; the old ones serve while Vault is away."""
        now, old = self._clock.now(), self._identity
        if old is not None and not old.half_spent(now):
            return old
        key = certificates.new_key()
        names = zone_names(self._zone)
        csr = (
            x509.CertificateSigningRequestBuilder()
            .subject_name(x509.Name([]))
            .add_extension(x509.SubjectAlternativeName(names), critical=True)
            .sign(key, hashes.SHA256())
            .public_bytes(serialization.Encoding.PEM)
            .decode()
        )
        try:
            leaf = await self._sign(self._zone_role, csr, key.public_key(), names, self._zone_ttl)
        except IssuerError as error:
            if old is None or now >= old.not_after:
                raise
            self._trouble = f"the zone's own certificate could not be renewed: {error}"
            logger.warning("zone certificate not renewed", extra={"error": str(error)})
            return old
        self._identity = Credentials(
            leaf.chain_pem, key, leaf.serial, leaf.not_before, leaf.not_after
        )
        return self._identity

    def bundle(self) -> TrustBundle:
        """Return the roots."""
        if self._bundle is None:
            raise IssuerUnavailableError("the roots are not known yet", remedy="start the issuer")
        return self._bundle

    def status(self) -> IssuerStatus:
        """Tell how Vault and the roots fare."""
        roots = self._bundle.roots if self._bundle else ()
        known = (self._trouble, self._client.trouble, *self._vault_warnings)
        warnings = [each for each in known if each]
        warnings.extend(root_warnings(roots, self._clock.now()))
        return IssuerStatus("vault-sign", None, root_statuses(roots), tuple(warnings))

    async def _sign(
        self,
        role: str,
        csr: str,
        key: PublicKey,
        names: Sequence[x509.GeneralName],
        ttl: timedelta,
    ) -> Issued:
        if ttl < timedelta(seconds=1):
            raise IssuerError(f"a certificate cannot live {ttl}", remedy="ask for a positive TTL")
        uri = next(str(each.value) for each in names if _is_uri(each))
        dns = [str(each.value) for each in names if not _is_uri(each)]
        try:
            capped = cap_to(ttl, self._signing, self._clock)
            answer = await self._pki.sign(role, csr, uri=uri, dns_names=dns, ttl=capped)
        except VaultError as error:
            failure = issuer_error(error)
            self._trouble = str(failure)
            raise failure from error
        self._trouble = ""
        self._vault_warnings = answer.warnings
        return self._accept(answer, key, names)

    def _accept(
        self, answer: SignedPem, key: PublicKey, names: Sequence[x509.GeneralName]
    ) -> Issued:
        leaf, *above = parse([answer.certificate, *answer.ca_chain], self._pki.mount)
        wrong = differences(leaf, key, names)
        path, root = path_to_root(leaf, (*above, *self._signing), self._pki.mount)
        bundle = self.bundle()
        if root not in bundle.roots:
            # The root was rotated since the roots were read; both are published by now.
            self._bundle = TrustBundle.of((root, *bundle.roots), self._zone.trust_domain)
        end = min(each.not_valid_after_utc for each in (*path, root))
        if leaf.not_valid_after_utc > end:
            wrong.append(f"it outlives its issuer, which ends at {end}")
        if wrong:
            raise BadAnswerError(
                f"Vault signed something else than was asked: {'; '.join(wrong)}",
                remedy="restore the roles: mesh vault setup --mode vault-sign",
            )
        return issued(path)

    async def _read_roots(self) -> None:
        self._signing, roots = await mount_roots(self._pki)
        _, root = path_to_root(self._signing[0], self._signing, self._pki.mount)
        self._bundle = TrustBundle.of((root, *roots), self._zone.trust_domain)

    async def _keep_roots(self) -> None:
        backoff = Backoff(1.0, _ROOTS_EVERY.total_seconds())
        wait = _ROOTS_EVERY.total_seconds()
        while True:
            await self._clock.sleep(wait)
            try:
                await self._read_roots()
            except (VaultError, IssuerError) as error:
                self._trouble = f"the roots could not be read from Vault: {error}"
                logger.warning("roots not read", extra={"error": str(error)})
                wait = 1 + backoff.next()
            else:
                backoff.reset()
                wait = _ROOTS_EVERY.total_seconds()


def differences(
    leaf: x509.Certificate, key: PublicKey, names: Sequence[x509.GeneralName]
) -> list[str]:
    """Say where a signed leaf is not the one that was asked for."""
    wrong: list[str] = []
    if leaf.public_key() != key:
        wrong.append("it is for another key")
    found = set(chain.names(leaf))
    if found != set(names):
        shown = ", ".join(sorted(str(each.value) for each in found)) or "no name"
        wrong.append(f"it names {shown}")
    if leaf.subject.rdns:
        wrong.append(f"it has the subject {leaf.subject.rfc4514_string()!r}")
    try:
        usages = leaf.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
        if set(usages) != _BOTH:
            wrong.append("it is not for client and server authentication only")
    except x509.ExtensionNotFound:
        wrong.append("its use is not limited to client and server authentication")
    try:
        if leaf.extensions.get_extension_for_class(x509.BasicConstraints).value.ca:
            wrong.append("it is a CA")
    except x509.ExtensionNotFound:
        pass  # a certificate without constraints is no CA
    return wrong


def _is_uri(name: x509.GeneralName) -> bool:
    return isinstance(name, x509.UniformResourceIdentifier)
