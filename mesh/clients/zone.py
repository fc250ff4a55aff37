"""A client of a zone's API, for administrators and for anybody who trusts the mesh.

The zone's certificate is believed if the mesh's trust bundle stands behind it *and* it names a
zone: a workload's certificate comes from the same roots.  Its name is learned by a first
handshake, which sends nothing; the admin token travels only over connections bound to it.

(The proxy's agent has a client of its own, which imports less.)
"""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self
from urllib.parse import quote

import aiohttp

from mesh.model import hostport
from mesh.model.identity import InvalidIdentityError, ZoneId
from mesh.model.violations import Violation

_TIMEOUT: Final = 30.0
_HANDSHAKE_TIMEOUT: Final = 10.0


class ZoneError(Exception):
    """The zone could not be asked, or refused; ``remedy`` says what to do."""

    def __init__(
        self, message: str, *, remedy: str = "", violations: tuple[Violation, ...] = ()
    ) -> None:
        """Write what failed, every violation, and the remedy."""
        self.message = message
        self.remedy = remedy
        self.violations = violations
        lines = "".join(f"\n  {each}" for each in violations)
        super().__init__(f"{message}{lines}" + (f"; {remedy}" if remedy else ""))


class ZoneUnreachableError(ZoneError):
    """No answer came."""


class UntrustedZoneError(ZoneError):
    """Whoever answers is not a zone of this mesh."""


class ZoneRefusedError(ZoneError):
    """The zone answered with an error; ``status`` is HTTP's."""

    def __init__(
        self, status: int, message: str, *, remedy: str, violations: tuple[Violation, ...]
    ) -> None:
        """Keep the zone's own words."""
        super().__init__(message, remedy=remedy, violations=violations)
        self.status = status


@dataclass(frozen=True, slots=True)
class ZoneAddress:
    """Where a zone's API is, and which roots to believe (a PEM file)."""

    host: str
    port: int
    bundle_file: Path

    def __str__(self) -> str:
        """Write ``host:port``."""
        return hostport.join(self.host, self.port)


class ZoneClient:
    """Asks a zone.  A context manager; every method raises :class:`ZoneError`.

    Within the block, ``identity`` and ``certificate_expires_at`` are the zone's; ``date`` is its
    clock at the last answer, in whole seconds.  Without a token only the bundle can be had.
    """

    identity: ZoneId
    certificate_expires_at: datetime

    def __init__(self, address: ZoneAddress, admin_token: str = "") -> None:
        """Dial nothing yet."""
        self.date: datetime | None = None
        self._address = address
        self._token = admin_token
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        """Learn which zone it is, and trust it or not."""
        context = self._context()
        await self._learn(context)
        context.check_hostname = True
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(ssl=context),
            timeout=aiohttp.ClientTimeout(total=_TIMEOUT),
            headers={"Authorization": f"Bearer {self._token}"} if self._token else {},
        )
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close the connections."""
        if self._session is not None:
            await self._session.close()

    async def bundle(self) -> Mapping[str, Any]:
        """Return the trust bundle: ``bundle``, ``fingerprint``, ``zone``, ``trust_domain``."""
        return await self._ask("GET", "/v1/bundle")

    async def create_token(
        self, *, service: str = "", prefix: str = "", ttl: timedelta, reusable: bool = False
    ) -> Mapping[str, Any]:
        """Make a join token: ``token``, ``id``, ``expires_at``."""
        who = {"service": service} if service else {"prefix": prefix}
        body = {**who, "ttl_seconds": ttl.total_seconds(), "reusable": reusable}
        return await self._ask("POST", "/v1/tokens", body=body)

    async def revoke_token(self, token_id: str) -> None:
        """Revoke a join token by its id."""
        await self._ask("DELETE", f"/v1/tokens/{quote(token_id, safe='')}")

    async def invite_peer(self, name: str, ttl: timedelta) -> Mapping[str, Any]:
        """Make a peering token for the zone ``name``: ``token``, ``id``, ``expires_at``."""
        body = {"name": name, "ttl_seconds": ttl.total_seconds()}
        return await self._ask("POST", "/v1/peers/invitations", body=body)

    async def accept_peer(self, token: str) -> Mapping[str, Any]:
        """Become the peer of the zone that made ``token``: ``name``, ``trust_domain``."""
        return await self._ask("POST", "/v1/peers", body={"token": token})

    async def peers(self) -> Mapping[str, Any]:
        """List the zone's peers."""
        return await self._ask("GET", "/v1/peers")

    async def forget_peer(self, name: str) -> None:
        """End the peering with a zone."""
        await self._ask("DELETE", f"/v1/peers/{quote(name, safe='')}")

    async def proxies(self) -> Mapping[str, Any]:
        """List the proxies connected to the zone."""
        return await self._ask("GET", "/v1/proxies")

    async def proxy_config(self, proxy: str) -> Mapping[str, Any]:
        """Return what a proxy (``<service>/<instance>``) was sent."""
        return await self._ask("GET", f"/v1/proxies/{quote(proxy)}/config")

    async def services(self) -> Mapping[str, Any]:
        """List the zone's services."""
        return await self._ask("GET", "/v1/services")

    async def problems(self) -> Mapping[str, Any]:
        """List what Consul holds that cannot be used."""
        return await self._ask("GET", "/v1/problems")

    async def status(self) -> Mapping[str, Any]:
        """Return how the zone fares."""
        return await self._ask("GET", "/v1/status")

    async def dry_run(
        self,
        documents: Iterable[Mapping[str, Any]],
        deleted: Iterable[tuple[str, str]] = (),
    ) -> Mapping[str, Any]:
        """Return what would change if policies were applied, and others (kind, name) deleted."""
        gone = [{"type": kind, "name": name} for kind, name in deleted]
        body = {"apply": list(documents), "delete": gone}
        return await self._ask("POST", "/v1/policies/dry-run", body=body)

    async def explain(
        self,
        source: str,
        destination: str,
        *,
        method: str = "",
        path: str = "",
        headers: Iterable[tuple[str, str]] = (),
        proxy: str = "",
    ) -> Mapping[str, Any]:
        """Return the verdict on a call, why, and the way that it takes from ``proxy``."""
        query = [("source", source), ("destination", destination)]
        given = (("method", method), ("path", path), ("proxy", proxy))
        query += [(name, value) for name, value in given if value]
        query += [("header", f"{name}={value}") for name, value in headers]
        return await self._ask("GET", "/v1/explain", query=query)

    async def _ask(
        self,
        method: str,
        path: str,
        *,
        body: Mapping[str, Any] | None = None,
        query: Iterable[tuple[str, str]] = (),
    ) -> Mapping[str, Any]:
        if self._session is None:
            raise AssertionError  # used outside its block
        url = f"https://{self._address}{path}"
        try:
            async with self._session.request(
                method,
                url,
                json=body,
                params=list(query),
                server_hostname=self.identity.server_name,
                allow_redirects=False,
            ) as response:
                content = await response.read()
                date = response.headers.get("Date")
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise self._unreachable(error) from error
        self.date = parsedate_to_datetime(date) if date else None
        return _answer(response.status, content, str(self._address))

    def _context(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        context.check_hostname = False
        try:
            context.load_verify_locations(cafile=self._address.bundle_file)
        except OSError as error:
            raise ZoneError(
                f"the trust bundle {self._address.bundle_file} cannot be read: "
                f"{error.strerror or error}",
                remedy="name the PEM file of the mesh's roots with --bundle "
                "(bundle.pem in the zone's data directory)",
            ) from error
        return context

    async def _learn(self, context: ssl.SSLContext) -> None:
        try:
            async with asyncio.timeout(_HANDSHAKE_TIMEOUT):
                _, writer = await asyncio.open_connection(
                    self._address.host, self._address.port, ssl=context, server_hostname=""
                )
        except ssl.SSLCertVerificationError as error:
            raise UntrustedZoneError(
                f"the certificate at {self._address} is not from a root in "
                f"{self._address.bundle_file}: {error.verify_message}",
                remedy="fetch the mesh's current trust bundle, and check the address "
                "and the clocks",
            ) from error
        except (OSError, TimeoutError) as error:
            raise self._unreachable(error) from error
        try:
            certificate = writer.get_extra_info("peercert") or {}
            self.identity = _zone_of(certificate, str(self._address))
            expires = ssl.cert_time_to_seconds(certificate["notAfter"])
            self.certificate_expires_at = datetime.fromtimestamp(expires, UTC)
        finally:
            writer.close()
            with suppress(OSError):
                await writer.wait_closed()

    def _unreachable(self, error: Exception) -> ZoneUnreachableError:
        reason = str(error) or "no answer in time"
        return ZoneUnreachableError(
            f"the zone's API at {self._address} does not answer: {reason}",
            remedy="check that 'mesh zone' runs there, and the address given with --zone",
        )


def _zone_of(certificate: Mapping[str, Any], address: str) -> ZoneId:
    names = certificate.get("subjectAltName", ())
    uris = [value for kind, value in names if kind == "URI"]
    try:
        return ZoneId.parse(uris[0] if len(uris) == 1 else "")
    except InvalidIdentityError as error:
        raise UntrustedZoneError(
            f"what answers at {address} is {', '.join(uris) or 'nobody'}, not a zone",
            remedy="check the address given with --zone",
        ) from error


def _answer(status: int, content: bytes, address: str) -> Mapping[str, Any]:
    try:
        found = json.loads(content)
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise ZoneError(
            f"the answer from {address} (status {status}) is not a zone's",
            remedy="check the address given with --zone",
        )
    if status >= HTTPStatus.BAD_REQUEST:
        raise ZoneRefusedError(
            status,
            str(found.get("error", f"the zone answered {status}")),
            remedy=str(found.get("remedy", "")),
            violations=tuple(
                Violation(str(each.get("path", "")), str(each.get("message", "")))
                for each in found.get("violations", ())
            ),
        )
    return found
