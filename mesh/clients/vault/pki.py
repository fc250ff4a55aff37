"""A PKI mount of Vault: who can sign there, and having things signed.

Answers are PEM; whether they are what was asked for is for the caller to check.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from mesh.clients.vault.client import VaultClient


@dataclass(frozen=True, slots=True)
class SignedPem:
    """A certificate as Vault signed it, with what stands above it."""

    certificate: str
    ca_chain: tuple[str, ...]
    warnings: tuple[str, ...]


class Pki:
    """One PKI mount."""

    def __init__(self, client: VaultClient, mount: str) -> None:
        """Take the mount's path, such as ``pki``."""
        self._client = client
        self.mount = mount.strip("/")

    async def issuers(self) -> tuple[str, ...]:
        """Return the ids of the mount's issuers."""
        return await self._client.list(f"{self.mount}/issuers")

    async def issuer(self, reference: str = "default") -> tuple[str, ...]:
        """Return an issuer's certificate and what stands above it."""
        answer = await self._client.read(f"{self.mount}/issuer/{reference}/json")
        chain = [answer.data["certificate"], *(answer.data.get("ca_chain") or ())]
        return tuple(dict.fromkeys(pem.strip() for pem in chain))

    async def sign_intermediate(self, csr: str, common_name: str, ttl: timedelta) -> SignedPem:
        """Sign a CA below the default issuer that signs leaves only.

        ``use_csr_values`` keeps the request's SAN and constraints, which Vault else drops.
        """
        return await self._sign(
            "root/sign-intermediate",
            {
                "csr": csr,
                "common_name": common_name,
                "use_csr_values": True,
                "max_path_length": 0,
                "format": "pem",
                "ttl": _seconds(ttl),
            },
        )

    async def sign(
        self, role: str, csr: str, *, uri: str, dns_names: Sequence[str] = (), ttl: timedelta
    ) -> SignedPem:
        """Sign a leaf through ``role``.

        The names are passed here: a role with ``use_csr_sans`` off, as setup makes it, drops those
        of the request without a word.
        """
        return await self._sign(
            f"sign/{role}",
            {
                "csr": csr,
                "uri_sans": uri,
                "alt_names": ",".join(dns_names),
                "exclude_cn_from_sans": True,
                "format": "pem",
                "ttl": _seconds(ttl),
            },
        )

    async def _sign(self, path: str, body: dict[str, Any]) -> SignedPem:
        answer = await self._client.write(f"{self.mount}/{path}", body)
        above = (*(answer.data.get("ca_chain") or ()), answer.data.get("issuing_ca") or "")
        return SignedPem(
            answer.data["certificate"],
            tuple(dict.fromkeys(pem.strip() for pem in above if pem)),
            answer.warnings,
        )


def _seconds(ttl: timedelta) -> str:
    return f"{int(ttl.total_seconds())}s"
