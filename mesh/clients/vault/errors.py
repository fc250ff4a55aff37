"""What goes wrong between the mesh and Vault, in terms an operator can act on."""

from __future__ import annotations

from collections.abc import Sequence


class VaultError(Exception):
    """A request to Vault failed; ``remedy`` says what to do about it."""

    def __init__(self, message: str, *, remedy: str) -> None:
        """Write the failure and the remedy in one sentence."""
        super().__init__(f"{message}; {remedy}")
        self.remedy = remedy


class HvacMissingError(VaultError):
    """The library that speaks to Vault is not installed."""

    def __init__(self) -> None:
        """Name the extra that brings it."""
        super().__init__(
            "Vault cannot be used: the package hvac is not installed",
            remedy="run: pip install 'consul-mesh[vault]'",
        )


class VaultUnreachableError(VaultError):
    """No answer came from Vault."""

    def __init__(self, address: str, reason: str) -> None:
        """Name the address and what happened."""
        super().__init__(
            f"Vault at {address} does not answer: {reason}",
            remedy="check the address, the network between, and the CA certificate of its TLS",
        )


class VaultSealedError(VaultError):
    """Vault is there, but sealed, not initialised, or without an active node."""

    def __init__(self, address: str, reason: str) -> None:
        """Name the address and what Vault said."""
        super().__init__(
            f"Vault at {address} cannot serve: {reason}",
            remedy="unseal it (vault operator unseal)",
        )


class VaultForbiddenError(VaultError):
    """The token is valid, but its policies do not allow the request.

    ``stanza`` is what is missing from them, in Vault's policy language.
    """

    def __init__(self, path: str, capability: str) -> None:
        """Write the missing stanza."""
        self.stanza = stanza(path, (capability,))
        super().__init__(
            f"Vault does not allow this token to {capability} {path}",
            remedy=f"add to its policy:\n{self.stanza}",
        )


class VaultLoginError(VaultError):
    """No token could be had, or the one there is has ended."""


class VaultRefusedError(VaultError):
    """Vault understood the request and refused it; ``reasons`` are its own words."""

    def __init__(self, path: str, status: int, reasons: Sequence[str]) -> None:
        """Keep Vault's reasons."""
        self.status = status
        self.reasons = tuple(reasons)
        said = "; ".join(self.reasons) or "it gave no reason"
        super().__init__(
            f"Vault refused {path} with status {status}: {said}",
            remedy="check the mount, the role and the values, or prepare Vault: mesh vault setup",
        )


def stanza(path: str, capabilities: Sequence[str]) -> str:
    """Write one rule of a Vault policy."""
    listed = ", ".join(f'"{capability}"' for capability in capabilities)
    return f'path "{path}" {{\n  capabilities = [{listed}]\n}}\n'
