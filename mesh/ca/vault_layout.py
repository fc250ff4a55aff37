"""What a Vault that is prepared for the mesh holds.  Pure: values and the policy's text.

:mod:`mesh.ca.setup` compares a Vault with this and adds what is missing.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

from mesh.ca.vault_sign import WORKLOAD_ROLE, ZONE_ROLE
from mesh.clients.vault.errors import stanza

ROOT_TTL: Final = timedelta(days=3650)
LEAF_MAX_TTL: Final = timedelta(hours=72)
POLICY: Final = "mesh-zone"
"""Name of the policy, and of the AppRole that has it."""
_KEEP_TOKEN: Final = (
    stanza("auth/token/lookup-self", ("read",)),
    stanza("auth/token/renew-self", ("update",)),
)


class Mode(enum.StrEnum):
    """Who signs the leaves."""

    VAULT = "vault"
    VAULT_SIGN = "vault-sign"


@dataclass(frozen=True, slots=True)
class Layout:
    """What to prepare.  ``approle_directory`` is where an AppRole's ids are written, if at all."""

    trust_domain: str
    mount: str = "pki"
    mode: Mode = Mode.VAULT
    root_ttl: timedelta = ROOT_TTL
    approle_directory: Path | None = None

    @property
    def policy(self) -> str:
        """The least a zone's token must be allowed.

        The issuers and their chains are readable without any grant.
        """
        signing = {
            Mode.VAULT: ("root/sign-intermediate",),
            Mode.VAULT_SIGN: (f"sign/{WORKLOAD_ROLE}", f"sign/{ZONE_ROLE}"),
        }[self.mode]
        rules = [stanza(f"{self.mount}/{path}", ("update",)) for path in signing]
        return "\n".join((*rules, *_KEEP_TOKEN))

    @property
    def root(self) -> Mapping[str, Any]:
        """The request that makes the root."""
        return {
            "common_name": f"mesh root {self.trust_domain}"[:64],
            "issuer_name": "mesh-root",
            "key_type": "ec",
            "key_bits": 256,
            "ttl": seconds(self.root_ttl),
            "uri_sans": f"spiffe://{self.trust_domain}",
            "exclude_cn_from_sans": True,
        }

    @property
    def roles(self) -> Mapping[str, Mapping[str, Any]]:
        """The roles, by name; none where this mesh signs its own leaves."""
        if self.mode is Mode.VAULT:
            return {}
        return {
            WORKLOAD_ROLE: {
                **_LEAF,
                "allowed_uri_sans": [f"spiffe://{self.trust_domain}/ns/default/dc/*"],
                "allowed_domains": [],
                "allow_glob_domains": False,
            },
            ZONE_ROLE: {
                **_LEAF,
                "allowed_uri_sans": [f"spiffe://{self.trust_domain}/mesh/zone/*"],
                "allowed_domains": [f"zone.*.{self.trust_domain}"],
                "allow_glob_domains": True,
            },
        }

    @property
    def approle(self) -> Mapping[str, Any]:
        """The AppRole with which a zone logs in."""
        return {
            "token_policies": [POLICY],
            "token_no_default_policy": True,
            "token_ttl": 3600,
            "token_max_ttl": 86_400,
        }


_LEAF: Final[Mapping[str, Any]] = {
    "allow_any_name": False,
    "allow_localhost": False,
    "allow_ip_sans": False,
    "allow_subdomains": False,
    "allow_bare_domains": False,
    "enforce_hostnames": True,
    "require_cn": False,
    "use_csr_common_name": False,
    "use_csr_sans": False,
    "basic_constraints_valid_for_non_ca": True,
    "key_type": "any",
    "key_usage": ["DigitalSignature"],
    "server_flag": True,
    "client_flag": True,
    "code_signing_flag": False,
    "email_protection_flag": False,
    # A day's certificates of a fleet would only fill the storage: nobody revokes them.
    "no_store": True,
    "generate_lease": False,
    "ttl": 86_400,
    "max_ttl": int(LEAF_MAX_TTL.total_seconds()),
}


def seconds(duration: timedelta) -> str:
    """Write a duration as Vault reads it."""
    return f"{int(duration.total_seconds())}s"
