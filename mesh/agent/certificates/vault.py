"""The Vault of an edge gateway, as far as its certificates need it: read, have signed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from mesh.agent.certificates.session import FORBIDDEN, Session, VaultError, member, why
from mesh.agent.settings import Vault as Settings
from mesh.aio.clock import Clock
from mesh.model.certificates import CertificateSource

_ABSENT: Final = 404
_BAD: Final = 400
_LONGEST: Final = 64
"""Characters of a common name (RFC 5280, appendix A.1); clients look at the others alone."""


class Vault:
    """Speaks to one Vault as this gateway."""

    def __init__(self, settings: Settings, clock: Clock) -> None:
        """``settings`` say where it is and how to log in."""
        self._session = Session(settings, clock)

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
        common = _common(source)
        body: dict[str, Any] = {
            "csr": request,
            **({"common_name": common} if common else {}),
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
        answer = await self._session.ask(method, path, body)
        if answer.ok:
            return member(answer, "data")
        remedy = "See Vault's audit log."
        if answer.status == FORBIDDEN:
            how = "read" if method == "GET" else "update"
            remedy = f'The gateway\'s policy needs {how} on "{path}".'
        elif answer.status == _ABSENT:
            remedy = "Is the mount's name right, is it version 2, and is there such a secret?"
        elif answer.status == _BAD and source.names and not _common(source):
            remedy = (
                f"A name longer than {_LONGEST} characters is no common name: the role needs "
                "require_cn=false."
            )
        raise VaultError(f"{source.place}: Vault answered {answer.status}{why(answer)}", remedy)


def _common(source: CertificateSource) -> str:
    """Return which of the names may be the common name too; none if all are too long."""
    return next((name for name in source.names if len(name) <= _LONGEST), "")


def _listed(fields: Mapping[str, Any]) -> str:
    return ", ".join(sorted(map(str, fields))) or "nothing"
