"""Client of the zone's API: several addresses, one identity, own errors.

Whatever address is dialled, the other side must prove to be the zone by a certificate under the
trust bundle for the zone's name.  The first question of all, :meth:`ZoneClient.published`, is the
exception: its answer is public and is believed only as far as a pin confirms it.
"""

from __future__ import annotations

import logging
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from mesh.agent import http
from mesh.agent.errors import (
    AgentError,
    BundleMismatchError,
    ClockSkewError,
    ZoneRefusedError,
    ZoneUnreachableError,
)
from mesh.agent.settings import Address
from mesh.model.identity import ZoneId

logger = logging.getLogger(__name__)

_NOT_YET_VALID: Final = 9
_EXPIRED: Final = 10


@dataclass(frozen=True, slots=True)
class Trust:
    """Whom to believe: certificates under ``bundle`` that name ``zone``."""

    bundle: str
    zone: ZoneId

    def context(self, certificate: tuple[Path, Path] | None = None) -> ssl.SSLContext:
        """Return a client's TLS context; ``certificate`` is a chain's file and its key's."""
        context = ssl.create_default_context(cadata=self.bundle)
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        if certificate is not None:
            context.load_cert_chain(*certificate)
        return context


class ZoneClient:
    """Asks the zone, at the first address that answers."""

    def __init__(self, addresses: tuple[Address, ...], *, timeout: float = 5.0) -> None:
        """``timeout`` is per address, in seconds."""
        self._addresses = addresses
        self._timeout = timeout

    async def published(self) -> dict[str, Any]:
        """Return the zone's public names and bundle, from whoever answers: unverified."""
        context = ssl.create_default_context()
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        return await self._ask(context, None, "GET", "/v1/bundle")

    async def bundle(self, trust: Trust, *, timeout: float | None = None) -> str:  # noqa: ASYNC109 - per address
        """Return the present trust bundle, from a zone that the one at hand vouches for."""
        said = await self._ask(trust.context(), trust.zone, "GET", "/v1/bundle", timeout=timeout)
        return str(_member(said, "bundle"))

    async def enrol(
        self, trust: Trust, csr: str, service: str, proof: Mapping[str, str]
    ) -> dict[str, Any]:
        """Have ``csr`` signed for ``service`` on the strength of ``proof``."""
        body = {"csr": csr, "service": service, "proof": dict(proof)}
        return await self._ask(trust.context(), trust.zone, "POST", "/v1/enrol", body)

    async def renew(
        self, trust: Trust, csr: str, certificate: tuple[Path, Path], *, token_id: str = ""
    ) -> dict[str, Any]:
        """Have ``csr`` signed on the strength of the present certificate.

        ``token_id`` names the join token of the enrolment, so that it goes on counting.
        """
        context = trust.context(certificate)
        body = {"csr": csr, **({"token_id": token_id} if token_id else {})}
        return await self._ask(context, trust.zone, "POST", "/v1/renew", body)

    async def register(
        self, trust: Trust, certificate: tuple[Path, Path], body: Mapping[str, Any]
    ) -> float:
        """Register or refresh an instance; return the seconds after which it lapses."""
        path = f"/v1/registrations/{body['id']}"
        context = trust.context(certificate)
        said = await self._ask(context, trust.zone, "PUT", path, dict(body))
        return float(_member(said, "lease_seconds"))

    async def deregister(self, trust: Trust, certificate: tuple[Path, Path], instance: str) -> None:
        """Take an instance out of the registry; one that is not there is fine."""
        context = trust.context(certificate)
        await self._ask(context, trust.zone, "DELETE", f"/v1/registrations/{instance}")

    async def _ask(
        self,
        context: ssl.SSLContext,
        zone: ZoneId | None,
        method: str,
        path: str,
        body: object = None,
        *,
        timeout: float | None = None,  # noqa: ASYNC109 - per address
    ) -> dict[str, Any]:
        failures: list[str] = []
        distrusted: list[AgentError] = []
        for host, port in self._addresses:
            name = zone.server_name if zone else None
            server = http.Server(host, port, tls=context, server_name=name)
            try:
                response = await http.request(
                    server, method, path, body=body, timeout=timeout or self._timeout
                )
            except http.RequestError as error:
                distrust = _distrust(error, f"{host}:{port}", zone)
                if distrust is not None:  # one whose certificate lapsed is as good as dead
                    distrusted.append(distrust)
                failures.append(f"{host}:{port}: {error}")
                continue
            if response.status >= 500:  # noqa: PLR2004 - HTTP's server errors: another may do better
                failures.append(f"{host}:{port}: {_refusal(response, method, path).message}")
                continue
            if not response.ok:
                raise _refusal(response, method, path)
            return _document(response)
        if distrusted:
            raise distrusted[0]
        raise ZoneUnreachableError(
            f"the zone's API cannot be reached: {'; '.join(failures)}",
            "Check that `mesh zone` runs, that zone_api names its HTTPS address, and that no "
            "firewall is between.",
        )


def _member(said: dict[str, Any], name: str) -> Any:
    """Return a member of the zone's answer, which a zone of another version may lack."""
    if name not in said:
        raise ZoneUnreachableError(
            f"the zone's API answered without {name!r}",
            "Check that zone_api names the API of `mesh zone`, of a version like this agent's.",
        )
    return said[name]


def _document(response: http.Response) -> dict[str, Any]:
    if not response.body:
        return {}
    try:
        said = response.json()
    except http.RequestError as error:
        raise AgentError(
            f"the zone's answer cannot be read: {error}", "Is zone_api the address of `mesh zone`?"
        ) from error
    return said if isinstance(said, dict) else {}


def _refusal(response: http.Response, method: str, path: str) -> ZoneRefusedError:
    try:
        said = response.json()
    except http.RequestError:
        said = None
    said = said if isinstance(said, dict) else {}
    violations = "".join(
        f"\n  {each.get('path')}: {each.get('message')}" for each in said.get("violations") or ()
    )
    message = f"{method} {path} was answered {response.status}: {said.get('error') or 'no reason'}"
    return ZoneRefusedError(response.status, message + violations, str(said.get("remedy") or ""))


def _distrust(error: Exception, address: str, zone: ZoneId | None) -> AgentError | None:
    cause = error.__cause__
    if not isinstance(cause, ssl.SSLCertVerificationError) or zone is None:
        return None
    if cause.verify_code in {_NOT_YET_VALID, _EXPIRED}:
        return ClockSkewError(
            f"the certificate of {address} is not valid at this machine's time: "
            f"{cause.verify_message}",
            "Set the clock (is NTP running, here and there?); if it is right, the zone's own "
            "certificate has lapsed: see the zone's log.",
        )
    return BundleMismatchError(
        f"{address} did not prove to be zone {zone.zone} of {zone.trust_domain}: "
        f"{cause.verify_message}",
        "Check zone_api. If the mesh's root was replaced while this proxy was off, enrol again: "
        "new token, empty state directory.",
    )
