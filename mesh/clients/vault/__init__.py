"""A thin typed client of Vault (or OpenBao) with its own errors.

``client`` sends requests and keeps the token alive (``lease`` decides when), ``auth`` holds one
small file for each way to log in, ``pki`` speaks to a PKI mount.
"""

from mesh.clients.vault.auth.approle import AppRole
from mesh.clients.vault.auth.jwt import Jwt
from mesh.clients.vault.auth.method import AuthMethod
from mesh.clients.vault.auth.token import Token
from mesh.clients.vault.auth.token_file import TokenFile
from mesh.clients.vault.client import Answer, VaultClient, VaultSettings
from mesh.clients.vault.errors import (
    HvacMissingError,
    VaultError,
    VaultForbiddenError,
    VaultLoginError,
    VaultRefusedError,
    VaultSealedError,
    VaultUnreachableError,
)

__all__ = [
    "Answer",
    "AppRole",
    "AuthMethod",
    "HvacMissingError",
    "Jwt",
    "Token",
    "TokenFile",
    "VaultClient",
    "VaultError",
    "VaultForbiddenError",
    "VaultLoginError",
    "VaultRefusedError",
    "VaultSealedError",
    "VaultSettings",
    "VaultUnreachableError",
]
