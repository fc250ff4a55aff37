"""The Vault of an edge gateway, as far as its certificates need it: log in, read, have signed."""

from __future__ import annotations

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
from mesh.model.certificates import CertificateSource

_FORBIDDEN: Final = 403
_ABSENT: Final = 404
_SHARE: Final = 2 / 3
"""Of a token's life after which another is asked for."""
_LIFE: Final = 3600.0
"""Seconds after which another is asked for if Vault names no end."""


class VaultError(AgentError):
    """Vault did not give what it was asked for."""


@dataclass(frozen=True, slots=True)
class _Token:
    text: str
    until: float


class Vault:
    """Speaks to one Vault as this gateway."""

    def __init__(self, settings: Settings, clock: Clock) -> None:
        """``settings`` say where it is and how to log in."""
        self._settings = settings
        self._clock = clock
        self._token: _Token | None = None

    async def read(self, source: CertificateSource) -> tuple[str, str]:
        """Return the certificate chain and the key that a secret holds, both PEM.

        Raises:
            VaultError: there is no such secret, or it holds something else.

        """
        said = await self._ask("GET", f"{source.mount}/data/{source.path}", None, source)
        secret = said.get("data")
        fields = secret if isinstance(secret, Mapping) else {}
        chain, key = fields.get("certificate"), fields.get("private_key")
        if not isinstance(chain, str) or not isinstance(key, str):
            raise VaultError(
                f"{source.place} has no certificate: it holds {_listed(fields)}",
                "Write it with `vault kv put`: certificate and private_key, both PEM.",
            )
        return f"{chain.strip()}\n", f"{key.strip()}\n"

    async def sign(self, source: CertificateSource, request: str) -> tuple[str, tuple[str, ...]]:
        """Return the certificate that a role signs for ``request`` (a CSR), and who may be above.

        All are PEM.  Those above stand in whatever order Vault has them, perhaps twice, perhaps
        with the root: ``ca_chain`` has a root only if Vault was given it, and may be empty.

        Raises:
            VaultError: it signs nothing of the kind.

        """
        body: dict[str, Any] = {
            "csr": request,
            "common_name": source.names[0],
            "alt_names": ",".join(source.names),
            **({"ttl": f"{source.ttl}s"} if source.ttl else {}),
        }
        said = await self._ask("POST", f"{source.mount}/sign/{source.path}", body, source)
        leaf, above = said.get("certificate"), said.get("ca_chain") or []
        issuers = [*above, said.get("issuing_ca") or ""] if isinstance(above, list) else [above]
        if not isinstance(leaf, str) or not all(isinstance(each, str) for each in issuers):
            raise VaultError(f"{source.place} signed nothing", "Is it a role of a PKI mount?")
        return leaf, tuple(each for each in issuers if each.strip())

    async def _ask(
        self, method: str, path: str, body: object, source: CertificateSource
    ) -> Mapping[str, Any]:
        for attempt in (1, 2):
            answer = await self._request(method, path, body, await self._logged_in())
            if answer.status == _FORBIDDEN and attempt == 1:
                # The token may have ended before its time.
                self._token = None
                continue
            break
        if answer.ok:
            return _member(answer, "data")
        remedy = "See Vault's audit log."
        if answer.status == _FORBIDDEN:
            how = "read" if method == "GET" else "update"
            remedy = f'The gateway\'s policy needs {how} on "{path}".'
        elif answer.status == _ABSENT:
            remedy = "Is the mount's name right, is it version 2, and is there such a secret?"
        raise VaultError(f"{source.place}: Vault answered {answer.status}{_why(answer)}", remedy)

    async def _logged_in(self) -> str:
        settings = self._settings
        if settings.token_file is not None:
            return _secret(settings.token_file, "Vault token")
        if self._token is not None and self._clock.monotonic() < self._token.until:
            return self._token.text
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
                f"{answer.status}{_why(answer)}",
                "Are vault.auth.approle's files of this gateway's role, and is the secret id "
                "still valid?",
            )
        auth = _member(answer, "auth")
        token, seconds = auth.get("client_token"), auth.get("lease_duration") or _LIFE
        # The HTTP library refuses other texts by an error of its own, and quotes them.
        plain = isinstance(token, str) and token.isascii() and token.isprintable()
        if not plain or not token or not isinstance(seconds, int | float):
            raise VaultError(
                f"Vault at {settings.address} answers a login with no token", "Is it Vault?"
            )
        self._token = _Token(str(token), self._clock.monotonic() + seconds * _SHARE)
        return self._token.text

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
        file = self._settings.ca_file
        if file is None or urlsplit(self._settings.address).scheme != "https":
            return None
        try:
            return ssl.create_default_context(cafile=file)
        except OSError as error:
            raise VaultError(
                f"{file} cannot be used: {error.strerror or error}",
                "vault.ca_file names the certificate, in PEM, of the authority Vault is under.",
            ) from error


def _member(answer: http.Response, name: str) -> Mapping[str, Any]:
    try:
        said = answer.json()
    except http.RequestError as error:
        raise VaultError(f"Vault's answer cannot be read: {error}", "Is it Vault?") from error
    found = said.get(name) if isinstance(said, Mapping) else None
    return found if isinstance(found, Mapping) else {}


def _why(answer: http.Response) -> str:
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


def _listed(fields: Mapping[str, Any]) -> str:
    return ", ".join(sorted(map(str, fields))) or "nothing"
