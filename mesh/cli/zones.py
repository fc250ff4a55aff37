"""``mesh zones``: the zones of the mesh, as this one knows them."""

from __future__ import annotations

import enum
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import typer

from mesh.aio.clock import SystemClock
from mesh.cli import progress, times
from mesh.cli.consul import consul_options
from mesh.cli.output import Output, OutputOption, Table, show, warn
from mesh.clients.consul import ConsulAddress, ConsulClient, KeyValue
from mesh.model.violations import InvalidInputError
from mesh.sources.zones import document, peers, record
from mesh.sources.zones.document import ZoneDocument
from mesh.sources.zones.record import ZoneRecord

app = typer.Typer()

COLUMNS: Final = ("zone", "state", "heard", "gateways", "services", "distance", "clock")
FRESH: Final = timedelta(seconds=45)
"""How old knowledge may be: it is read, and written down, every few seconds."""
_GONE: Final = "Consul has no such datacenter any more: `mesh zone forget {name}` if it is gone"
SKEWED: Final = timedelta(seconds=5)


class State(enum.StrEnum):
    """How well a zone is known."""

    OWN = "this zone"
    OK = "ok"
    STALE = "stale"
    INVITED = "invited"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class ZoneState:
    """One zone; ``why`` says why it is stale or unknown.

    ``heard_ago`` is in seconds, ``distance`` in milliseconds, ``skew`` in seconds.
    """

    zone: str
    state: State
    why: str = ""
    heard_ago: float | None = None
    known: ZoneDocument | None = None
    distance: float | None = None
    skew: float | None = None
    peer: bool = False

    def row(self) -> tuple[object, ...]:
        """Return its row of the table."""
        zone = self.known.zone if self.known is not None else None
        return (
            f"{self.zone} (peer)" if self.peer else self.zone,
            self.state,
            "" if self.heard_ago is None else f"{times.age(timedelta(seconds=self.heard_ago))} ago",
            "" if zone is None else len(zone.gateways),
            "" if zone is None else self._services(),
            "" if self.distance is None else f"{self.distance:.1f} ms",
            "" if self.skew is None else _clock(self.skew),
        )

    def document(self) -> dict[str, Any]:
        """Return all of it for programs."""
        known = self.known
        said: dict[str, Any] = {
            "zone": self.zone,
            "peer": self.peer,
            "state": self.state.value,
            "reason": self.why,
            "heard_seconds_ago": self.heard_ago,
            "distance_ms": self.distance,
            "clock_ahead_seconds": self.skew,
        }
        if known is None:
            return said
        zone = known.zone
        return {
            **said,
            "trust_domain": zone.trust_domain,
            "fingerprint": known.fingerprint,
            "api": list(known.api),
            "gateways": [{"address": one.address, "port": one.port} for one in zone.gateways],
            "services": {
                name: {
                    "protocol": one.protocol.value,
                    "healthy": one.healthy,
                    "subsets": dict(one.subsets),
                }
                for name, one in sorted(zone.services.items())
            },
        }

    def _services(self) -> str:
        services = self.known.zone.services if self.known is not None else {}
        answering = sum(one.healthy > 0 for one in services.values())
        return f"{answering}/{len(services)}"


@app.command(epilog="\b\nExamples:\n  mesh zones\n  mesh zones -o json")
@consul_options
def zones(*, consul: ConsulAddress, output: OutputOption = Output.TABLE) -> None:
    """List the zones of the mesh, and how well this one knows them.

    HEARD is when a zone last said something.  SERVICES are those that others may call, and how many
    of them somebody answers.  DISTANCE is a round trip to the zone's nearest gateway, CLOCK by how
    much its clock differs.  What is known of a zone that is stale stands.
    """
    found = progress.run("Asking Consul", read_zones(consul, SystemClock().now()))
    warn([f"zone {each.zone}: {each.why}" for each in found if each.why])
    empty = "No zone has published its document: is `mesh zone` running?"
    show(
        output, [each.document() for each in found], Table(COLUMNS, [e.row() for e in found], empty)
    )


async def read_zones(address: ConsulAddress, now: datetime) -> list[ZoneState]:
    """Ask Consul which zones there are, and what its own knows of each; its own comes first.

    Raises:
        ConsulError: Consul did not answer, or refused.

    """
    async with ConsulClient(address) as client:
        return await ask_zones(client, now)


async def ask_zones(client: ConsulClient, now: datetime) -> list[ZoneState]:
    """Ask ``client`` likewise.

    Raises:
        ConsulError: Consul did not answer, or refused.

    """
    own = str((await client.agent_self())["Config"]["Datacenter"])
    said = (await client.kv_get(document.PREFIX + own)).value
    records = (await client.kv_list(record.PREFIX)).value
    invited = (await client.kv_list(peers.PREFIX)).value
    datacenters = await client.datacenters()
    held = {pair.key.removeprefix(record.PREFIX): pair.data for pair in records}
    others = sorted({*datacenters, *held} - {own})
    return [
        own_zone(own, said.data if said is not None else None, now),
        *(other_zone(one, held.get(one), now, is_member=one in datacenters) for one in others),
        *(peer_zone(pair, now) for pair in invited),
    ]


def peer_zone(pair: KeyValue, now: datetime) -> ZoneState:
    """Return the state of a peer, or of a zone that was invited to be one."""
    name = pair.key.removeprefix(peers.PREFIX)
    try:
        found = peers.parse(pair.data, f"the record of the peer {name}")
    except InvalidInputError as error:
        return ZoneState(name, State.UNKNOWN, str(error), peer=True)
    if isinstance(found, peers.Invitation):
        return ZoneState(name, State.INVITED, peer=True)
    return replace(_known(found.record, now, ""), peer=True)


def own_zone(name: str, data: bytes | None, now: datetime) -> ZoneState:
    """Return the state of this zone, from its own document."""
    if data is None:
        return ZoneState(
            name, State.UNKNOWN, "it has published no document: is `mesh zone` running?"
        )
    try:
        known = document.parse(data, f"the document of zone {name}")
    except InvalidInputError as error:
        return ZoneState(name, State.UNKNOWN, str(error))
    said = known.published_at or datetime.fromtimestamp(0, UTC)
    ago = max((now - said).total_seconds(), 0.0)
    why = ""
    if now - said > FRESH:
        why = f"its document is {times.age(now - said)} old: is `mesh zone` running?"
    return ZoneState(name, State.STALE if why else State.OWN, why, ago, known)


def other_zone(name: str, data: bytes | None, now: datetime, *, is_member: bool) -> ZoneState:
    """Return the state of another zone, from the record that this one keeps of it."""
    if data is None:
        why = "nothing was heard of it yet: does `mesh zone` run there, and here?"
        return ZoneState(name, State.UNKNOWN, why)
    try:
        known = record.parse(data, f"the record of zone {name}")
    except InvalidInputError as error:
        return ZoneState(name, State.UNKNOWN, str(error))
    gone = "" if is_member else _GONE.format(name=name)
    return _known(known, now, gone)


def _known(known: ZoneRecord, now: datetime, gone: str) -> ZoneState:
    why = known.error or gone or _old(known, now)
    return ZoneState(
        known.zone.name,
        State.STALE if why else State.OK,
        why,
        max((now - known.heard_at).total_seconds(), 0.0),
        known.document,
        known.distance,
        known.skew,
    )


def _old(known: ZoneRecord, now: datetime) -> str:
    if now - known.read_at > FRESH:
        return f"it was last read {times.age(now - known.read_at)} ago: does `mesh zone` run here?"
    if now - known.heard_at > FRESH:
        return f"it last said something {times.age(now - known.heard_at)} ago: does it run there?"
    return ""


def _clock(skew: float) -> str:
    if abs(skew) < SKEWED.total_seconds():
        return "same"
    return f"{times.age(timedelta(seconds=abs(skew)))} {'ahead' if skew > 0 else 'behind'}"
