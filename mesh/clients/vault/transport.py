"""One request to Vault over hvac: blocking, without state beyond its connections.

hvac is imported when the first transport is made, because a mesh without Vault does not need it.
The token goes with each request rather than into the session, so that threads share the session
and none sees another's token.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from mesh.clients.vault.auth.method import Login
from mesh.clients.vault.errors import (
    HvacMissingError,
    VaultError,
    VaultForbiddenError,
    VaultLoginError,
    VaultRefusedError,
    VaultSealedError,
    VaultUnreachableError,
)

_CAPABILITIES: Final = {"get": "read", "list": "list", "post": "update", "delete": "delete"}
# Said with every intermediate that may sign leaves only, which is what is asked for; and of every
# mount without AIA URLs, which a mesh does not use: its chains travel whole.
_EXPECTED: Final = (
    "Max path length of the signed certificate is zero",
    "This mount hasn't configured any authority information access",
)
_OK_BELOW: Final = 300
_FORBIDDEN: Final = 403
_NOT_SERVING: Final = frozenset({501, 503})
# Answers of a proxy in front of a Vault that is gone.
_GATEWAY: Final = frozenset({502, 504})


@dataclass(frozen=True, slots=True)
class VaultSettings:
    """Where Vault is and how it is reached.  ``ca_file`` None means the system's CAs."""

    address: str
    ca_file: Path | None = None
    namespace: str = ""
    timeout: float = 10.0


@dataclass(frozen=True, slots=True)
class Answer:
    """What Vault answered; ``auth`` may hold a token.

    ``warnings`` are Vault's, without those about what was asked for on purpose.
    """

    data: Mapping[str, Any]
    auth: Mapping[str, Any] = field(repr=False)
    warnings: tuple[str, ...] = ()


class Transport:
    """Sends requests; safe to use from several threads."""

    def __init__(self, settings: VaultSettings) -> None:
        """Open no connection yet.

        Raises:
            HvacMissingError: hvac is not installed.

        """
        try:
            import hvac  # noqa: PLC0415 - the extra may be absent, and the mesh runs without it
            import requests  # noqa: PLC0415 - comes with hvac
        except ImportError as error:
            raise HvacMissingError from error
        self.address = settings.address
        self._failures = requests.exceptions.RequestException
        self._adapter: Any = hvac.adapters.RawAdapter(
            base_uri=settings.address,
            verify=str(settings.ca_file) if settings.ca_file else True,
            timeout=settings.timeout,
            namespace=settings.namespace or None,
            # LIST is no verb of HTTP, and some proxies drop it.
            strict_http=True,
        )

    def close(self) -> None:
        """Close the connections."""
        self._adapter.close()

    def request(
        self, method: str, path: str, body: Mapping[str, Any] | None = None, *, token: str = ""
    ) -> Answer:
        """Send one request.

        Raises:
            VaultError: of the kind that fits the answer.

        """
        headers = {"X-Vault-Token": token} if token else {}
        try:
            response = self._adapter.request(
                method, f"/v1/{path}", headers=headers, raise_exception=False, json=body
            )
            content = _json(response)
        except self._failures as error:
            raise VaultUnreachableError(self.address, _reason(error)) from error
        status = int(response.status_code)
        if status >= _OK_BELOW:
            raise self._error(method, path, status, content)
        return Answer(
            content.get("data") or {},
            content.get("auth") or {},
            _telling(content.get("warnings") or ()),
        )

    def login(self, path: str, body: Mapping[str, Any]) -> Login:
        """Post to a login endpoint.

        Raises:
            VaultLoginError: Vault does not accept it.

        """
        try:
            answer = self.request("post", path, body)
        except (VaultForbiddenError, VaultRefusedError) as error:
            said = "; ".join(error.reasons) if isinstance(error, VaultRefusedError) else "forbidden"
            raise VaultLoginError(
                f"Vault at {self.address} refused the login at {path}: {said}",
                remedy="check the ids and the role, that the method is enabled at that mount, "
                "and that a secret id has not expired",
            ) from error
        auth = answer.auth
        return Login(auth["client_token"], int(auth["lease_duration"]), bool(auth["renewable"]))

    def look_up(self, token: str) -> Login:
        """Ask how long ``token`` lives.

        Raises:
            VaultLoginError: it does not live any more.

        """
        try:
            data = self.request("get", "auth/token/lookup-self", token=token).data
        except VaultForbiddenError as error:
            raise VaultLoginError(
                f"Vault at {self.address} does not know the token: it has expired or was revoked",
                remedy="supply a new one (one whose policy allows auth/token/lookup-self)",
            ) from error
        return Login(token, int(data["ttl"]), bool(data.get("renewable")))

    def _error(self, method: str, path: str, status: int, content: Mapping[str, Any]) -> VaultError:
        reasons = tuple(str(reason) for reason in content.get("errors") or ())
        if status == _FORBIDDEN:
            return VaultForbiddenError(path, _CAPABILITIES[method])
        if status in _NOT_SERVING:
            return VaultSealedError(self.address, "; ".join(reasons) or f"status {status}")
        if status in _GATEWAY:
            return VaultUnreachableError(self.address, f"a gateway answered {status}")
        return VaultRefusedError(path, status, reasons)


def _telling(warnings: Iterable[str]) -> tuple[str, ...]:
    return tuple(each for each in warnings if not each.startswith(_EXPECTED))


def _json(response: Any) -> Mapping[str, Any]:
    if not response.content:
        return {}
    content = response.json()
    return content if isinstance(content, dict) else {}


def _reason(error: Exception) -> str:
    # requests wraps urllib3, which wraps the socket's error; the innermost says what happened.
    cause: BaseException = error
    while (below := cause.__cause__ or cause.__context__) is not None:
        cause = below
    return str(cause) or type(cause).__name__
