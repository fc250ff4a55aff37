"""One gateway's session with Vault: where it is, how to log in, and one login for all who wait.

A token is good for the many certificates of a gateway.  Who needs one while somebody logs in waits
for that login and shares its outcome, so that a Vault that is slow, or that refuses, is asked once.

Source: https://developer.hashicorp.com/vault/api-docs/auth/approle#login-with-approle
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote, urlsplit

from mesh.agent import http
from mesh.agent.errors import AgentError
from mesh.agent.settings import Vault as Settings
from mesh.aio.clock import Clock

FORBIDDEN: Final = 403
_SHARE: Final = 2 / 3
"""Of a token's life after which another is asked for."""
_LIFE: Final = 3600.0
"""Seconds after which another is asked for if Vault names no end."""
_UNDOUBTED: Final = 10.0
"""Seconds of a token's life in which a refusal is the policy's: no two logins are closer."""


_Stamp = tuple[int, int, int] | None
"""What tells a file from the one of before."""


class VaultError(AgentError):
    """Vault did not give what it was asked for."""


@dataclass(frozen=True, slots=True)
class _Token:
    text: str
    since: float
    until: float


class Session:
    """Asks one Vault, logged in as this gateway."""

    def __init__(self, settings: Settings, clock: Clock) -> None:
        """``settings`` say where it is and how to log in."""
        self._settings = settings
        self._clock = clock
        self._token: _Token | None = None
        self._lock = asyncio.Lock()
        self._logins = 0
        self._context: ssl.SSLContext | None = None
        self._read: _Stamp = None
        self._refusal: VaultError | None = None
        """Why the last login failed, if it did."""

    async def ask(self, method: str, path: str, body: object = None) -> http.Response:
        """Return Vault's answer, whatever its status.

        Raises:
            VaultError: it does not answer, or does not let us in.

        """
        token = await self._logged_in()
        answer = await self._request(method, path, body, token)
        if answer.status == FORBIDDEN and await self._ended(token):
            answer = await self._request(method, path, body, await self._logged_in())
        return answer

    async def _ended(self, token: str) -> bool:
        """Whether ``token``, just refused, is at an end before its time, so that another helps."""
        if self._settings.token_file is not None:
            return False
        async with self._lock:
            if self._token is None or self._token.text != token:
                return True
            if self._clock.monotonic() - self._token.since < _UNDOUBTED:
                return False
            answer = await self._request("GET", "auth/token/lookup-self", None, token)
            if answer.status == FORBIDDEN:
                self._token = None
            return self._token is None

    async def _logged_in(self) -> str:
        settings = self._settings
        if settings.token_file is not None:
            return _secret(settings.token_file, "Vault token")
        before = self._logins
        async with self._lock:
            if self._token is not None and self._clock.monotonic() < self._token.until:
                return self._token.text
            if self._logins != before and self._refusal is not None:
                raise VaultError(self._refusal.message, self._refusal.remedy)
            self._token, self._refusal = None, None
            try:
                self._token = await self._login()
            except VaultError as error:
                self._refusal = error
                raise
            finally:
                self._logins += 1
            return self._token.text

    async def _login(self) -> _Token:
        settings = self._settings
        if settings.role_id_file is None or settings.secret_id_file is None:
            raise AssertionError("settings without a way to log in are refused")
        body = {
            "role_id": _secret(settings.role_id_file, "AppRole's role id"),
            "secret_id": _secret(settings.secret_id_file, "AppRole's secret id"),
        }
        answer = await self._request("POST", f"auth/{settings.approle_mount}/login", body, "")
        if not answer.ok:
            raise VaultError(
                f"Vault at {settings.address} does not let the AppRole in: "
                f"{answer.status}{why(answer)}",
                "Are vault.auth.approle's files of this gateway's role, and is the secret id "
                "still valid?",
            )
        auth = member(answer, "auth")
        token, seconds = auth.get("client_token"), auth.get("lease_duration") or _LIFE
        # The HTTP library refuses other texts by an error of its own, and quotes them.
        plain = isinstance(token, str) and token.isascii() and token.isprintable()
        if not plain or not token or not isinstance(seconds, int | float):
            raise VaultError(
                f"Vault at {settings.address} answers a login with no token", "Is it Vault?"
            )
        now = self._clock.monotonic()
        return _Token(str(token), now, now + seconds * _SHARE)

    async def _request(self, method: str, path: str, body: object, token: str) -> http.Response:
        settings = self._settings
        url = f"{settings.address.rstrip('/')}/v1/{quote(path)}"
        headers = {"X-Vault-Token": token} if token else {}
        if settings.namespace:
            headers["X-Vault-Namespace"] = settings.namespace
        try:
            server, target = http.from_url(url, self._tls())
            return await http.request(server, method, target, body=body, headers=headers)
        except http.RequestError as error:
            raise VaultError(
                f"Vault at {settings.address} does not answer: {error}",
                "Is vault.address right, and may this host reach it?",
            ) from error

    def _tls(self) -> ssl.SSLContext | None:
        """Return whom to believe, read again only when it has changed."""
        if urlsplit(self._settings.address).scheme != "https":
            return None
        file = self._settings.ca_file
        systems = ssl.get_default_verify_paths()
        try:
            stamp = _stamp(file or systems.cafile or systems.capath)
            if self._context is None or stamp != self._read:
                self._context, self._read = ssl.create_default_context(cafile=file), stamp
        except OSError as error:
            raise VaultError(
                f"{file or 'what this system believes'} cannot be used: {error.strerror or error}",
                "vault.ca_file names the certificate, in PEM, of the authority Vault is under.",
            ) from error
        return self._context


def _stamp(place: Path | str | None) -> _Stamp:
    if place is None:
        return None
    found = Path(place).stat()
    return found.st_mtime_ns, found.st_size, found.st_ino


def member(answer: http.Response, name: str) -> Mapping[str, Any]:
    """Return the object ``name`` of an answer; an empty one if it has none.

    Raises:
        VaultError: the answer is not JSON.

    """
    try:
        said = answer.json()
    except http.RequestError as error:
        raise VaultError(f"Vault's answer cannot be read: {error}", "Is it Vault?") from error
    found = said.get(name) if isinstance(said, Mapping) else None
    return found if isinstance(found, Mapping) else {}


def why(answer: http.Response) -> str:
    """Return what Vault said beside its status, for the end of a sentence; perhaps nothing."""
    try:
        errors = answer.json().get("errors")
    except (http.RequestError, AttributeError):
        return ""
    said = "; ".join(str(each).strip() for each in errors) if isinstance(errors, list) else ""
    return f": {said}" if said else ""


def _secret(file: Path, what: str) -> str:
    try:
        text = file.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not text"
        raise VaultError(
            f"the {what} in {file} cannot be read: {reason}", "Put it there, for this user only."
        ) from error
    # Checked here: the HTTP library refuses it too, and quotes it when it does.
    if not text or not text.isprintable() or " " in text:
        raise VaultError(f"{file} does not hold the {what} alone", "Put it there, alone.")
    return text
