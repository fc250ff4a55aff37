"""The clocks of this host, of Consul and of the zone agree.

Certificates are made for now: a host whose clock lags does not believe them yet, and one whose
clock runs ahead believes them no more.
"""

from __future__ import annotations

import ssl
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Final

from mesh.agent import http
from mesh.aio.clock import Clock
from mesh.cli.checks.model import Finding, failure, ok, warning
from mesh.cli.checks.surroundings import ZonePlace
from mesh.cli.zone_probe import probe
from mesh.clients.consul import ConsulAddress
from mesh.clients.consul.errors import Call, Unreachable

TOLERATED: Final = timedelta(seconds=5)
DANGEROUS: Final = timedelta(seconds=60)

ReadClock = Callable[[], Awaitable[datetime | None]]


class ClockSkew:
    """Compares this host's clock with another's."""

    vital = False

    def __init__(self, whose: str, read: ReadClock, clock: Clock) -> None:
        """``read`` tells the time of ``whose`` clock, in whole seconds."""
        self.title = f"clock of {whose}"
        self._whose = whose
        self._read = read
        self._clock = clock

    async def run(self) -> Sequence[Finding]:
        """Read the other clock between two looks at our own."""
        before = self._clock.now()
        theirs = await self._read()
        after = self._clock.now()
        if theirs is None:
            remedy = "Check that no proxy between removes the Date header."
            return [warning(f"{self._whose} does not tell its time", remedy)]
        return [judge(self._whose, theirs, before, after)]


def judge(whose: str, theirs: datetime, before: datetime, after: datetime) -> Finding:
    """Say how far ``theirs`` is from ours, which was read ``before`` and ``after``."""
    # Their second began up to a second before they wrote it.
    ahead = theirs - after
    behind = before - (theirs + timedelta(seconds=1))
    skew = max(ahead, behind, timedelta())
    if skew < TOLERATED:
        return ok(f"this host's clock agrees with that of {whose}")
    side = "behind" if ahead > behind else "ahead of"
    text = f"this host's clock is {skew.total_seconds():.0f} s {side} that of {whose}"
    remedy = "Set both clocks by NTP: `timedatectl set-ntp true`."
    return failure(text, remedy) if skew >= DANGEROUS else warning(text, remedy)


def consul_clock(address: ConsulAddress) -> ReadClock:
    """Read Consul's clock from its answers."""

    async def read() -> datetime | None:
        call = Call("GET", "/v1/status/leader", address.url)
        try:
            answer = await http.request(_server(address), call.method, call.path)
        except (http.RequestError, OSError) as error:
            raise Unreachable(call, str(error)) from error
        date = {name.lower(): value for name, value in answer.headers.items()}.get("date")
        return parsedate_to_datetime(date) if date else None

    return read


def zone_clock(place: ZonePlace) -> ReadClock:
    """Read the zone's clock from its answers."""

    async def read() -> datetime | None:
        return (await probe(place.address)).date

    return read


def _server(address: ConsulAddress) -> http.Server:
    if address.socket:
        return http.Server("consul", unix_socket=address.socket)
    tls = None
    if address.scheme == "https":
        tls = ssl.create_default_context(cafile=address.ca_file or None)
        if address.cert_file:
            tls.load_cert_chain(address.cert_file, address.key_file)
    server, _ = http.from_url(address.base, tls)
    return server
