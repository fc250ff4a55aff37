"""What a way to log in offers, and how one is read from settings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from mesh.clients.vault.errors import VaultLoginError
from mesh.model.violations import Report


@dataclass(frozen=True, slots=True)
class Login:
    """A token that Vault gave.  ``seconds`` zero means that it never ends."""

    token: str = field(repr=False)
    seconds: int
    renewable: bool


class LoginTransport(Protocol):
    """What a method may ask of Vault while there is no token yet.  Blocking."""

    def login(self, path: str, body: Mapping[str, Any]) -> Login:
        """Post ``body`` to a login endpoint."""
        ...

    def look_up(self, token: str) -> Login:
        """Ask how long ``token`` lives."""
        ...


class AuthMethod(Protocol):
    """One way to log in.  Its fields are its options."""

    @property
    def name(self) -> str:
        """The method, as settings name it."""
        ...

    def validate(self, report: Report) -> None:
        """Note what is wrong with the options."""
        ...

    def authenticate(self, vault: LoginTransport) -> Login:
        """Get a token.  Blocking: called outside the event loop.

        Raises:
            VaultError: Vault or the options' files do not let it.

        """
        ...


def read_secret(path: Path, what: str) -> str:
    """Read a file that holds one secret.

    Raises:
        VaultLoginError: it is missing, unreadable or empty.

    """
    try:
        text = path.read_text().strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not text"
        raise VaultLoginError(
            f"the {what} cannot be read from {path}: {reason}",
            remedy="write it there, readable by this user only",
        ) from error
    if not text:
        raise VaultLoginError(f"{path} is empty", remedy=f"write the {what} there")
    return text


def require(report: Report, path: str, value: object, example: str) -> None:
    """Note that an option is missing."""
    if not value or value == Path():
        report.add(path, f"is missing; for example {example}")
