"""Certificates as a gateway's document names them: where in Vault, never what."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import AfterValidator, Field, model_validator

from mesh.model.certificates import CertificateSource, Keep
from mesh.model.edge import Certificate
from mesh.policies.kinds.gateway.hosts import ServedHost
from mesh.policies.shape import Strict
from mesh.policies.units import Duration

_SHORTEST = 60.0


def _place(value: str) -> str:
    parts = value.split("/")
    if not all(parts) or {".", ".."} & set(parts) or not value.isprintable() or " " in value:
        raise ValueError(f"{value!r} is no path in Vault: write shop/tls")
    return value


Place = Annotated[str, Field(min_length=1, max_length=512), AfterValidator(_place)]


class KvModel(Strict):
    """A secret of Vault's key/value store, version 2, with `certificate` and `private_key`."""

    mount: Place = "secret"
    """Where the store is mounted."""
    path: Place
    """The secret's path, without `data/`.  `certificate` is PEM, the chain behind it."""


class PkiModel(Strict):
    """A role of Vault's PKI, which signs a key that the gateway makes."""

    mount: Place = "pki"
    """Where the PKI is mounted."""
    role: Place
    """The role; it must allow the hostnames."""
    ttl: Annotated[Duration, Field(ge=_SHORTEST)] | None = None
    """How long the certificate shall live; absent, as the role has it.  It is renewed at half."""


class CertificateModel(Strict):
    """A certificate, and who is shown it."""

    hostnames: tuple[ServedHost, ...] = ()
    """Clients that ask for one of these are shown it; without, all that no other is for."""
    vault_kv: KvModel | None = None
    """Where it is kept.  Give this or `vaultPki`."""
    vault_pki: PkiModel | None = None
    """Who signs it.  Give this or `vaultKv`; the hostnames are what it is for."""

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if (self.vault_kv is None) == (self.vault_pki is None):
            raise ValueError("give exactly one of vaultKv and vaultPki")
        if self.vault_pki is not None and not self.hostnames:
            raise ValueError("vaultPki needs hostnames: what the certificate is for")
        return self

    def form(self) -> Certificate:
        """Return the intermediate form."""
        hosts = tuple(dict.fromkeys(host.lower() for host in self.hostnames))
        if self.vault_pki is not None:
            pki = self.vault_pki
            ttl = int(pki.ttl or 0)
            source = CertificateSource(Keep.PKI, pki.mount, pki.role, hosts, ttl)
        elif self.vault_kv is not None:
            source = CertificateSource(Keep.KV, self.vault_kv.mount, self.vault_kv.path)
        else:
            raise AssertionError("a certificate without a source is refused")
        return Certificate(source, hosts)
