"""A client that does not read, or does not answer, costs the zone little and not for long."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import h2.config
import h2.connection
import pytest
from envoy.service.discovery.v3 import discovery_pb2

from mesh.envoy.resource import CLUSTER, Resource, Snapshot
from mesh.model.proxies import METADATA_KEY
from mesh.xds.call import METHOD
from mesh.xds.grpc_framing import frame
from mesh.xds.limits import Limits
from tests.bench.fleet import Fleet
from tests.bench.plan import Member, Plan
from tests.waiting import until
from tests.xds.conftest import ZONE, Dial, Zone, need
from tests.xds.model import request, snapshot
from tests.xds.pki import Authority, Files


def large(version: str) -> Resource:
    inner = discovery_pb2.Resource(name="large", version=version)
    inner.resource.value = bytes(900_000)
    wire = discovery_pb2.DeltaDiscoveryResponse(resources=[inner]).SerializeToString()
    return Resource(CLUSTER, "large", version, wire)


@pytest.fixture
def content() -> Snapshot:
    """Return what the zone has for everybody."""
    return {CLUSTER: (large("1"),)}


@pytest.fixture
async def deaf(
    zone: Zone, authority: Authority, web: Files, content: Snapshot
) -> AsyncIterator[Zone]:
    """Connect a client that subscribes to clusters and reads nothing from then on."""
    zone.book.snapshot = content
    _, writer = await asyncio.open_connection(
        "127.0.0.1",
        zone.port,
        ssl=authority.client_context(web),
        server_hostname=ZONE.server_name,
    )
    client = h2.connection.H2Connection(h2.config.H2Configuration(client_side=True))
    client.initiate_connection()
    client.send_headers(
        1,
        [
            (":method", "POST"),
            (":scheme", "https"),
            (":path", METHOD),
            (":authority", "zone"),
            ("content-type", "application/grpc"),
        ],
    )
    first = request(CLUSTER)
    first.node.id = "web/1"
    first.node.metadata.update({METADATA_KEY: need().to_metadata()})
    client.send_data(1, frame(first.SerializeToString()))
    writer.write(client.data_to_send())
    yield zone
    writer.transport.abort()


async def test_it_is_dropped_when_it_has_read_nothing_for_long(deaf: Zone) -> None:
    await until(lambda: bool(deaf.book.sessions))
    await deaf.clock.advance(Limits().stall_timeout - 1)
    assert deaf.server.proxies()
    await deaf.clock.advance(2)
    await until(lambda: deaf.server.connections == 0)
    assert not deaf.book.sessions


@pytest.mark.parametrize("limits", [Limits(max_buffered=500_000)])
async def test_it_is_dropped_when_too_much_waits_for_it(deaf: Zone) -> None:
    await until(lambda: deaf.counts.pushed == [CLUSTER])
    await until(lambda: deaf.server.connections == 0)


async def test_others_get_their_changes_meanwhile(deaf: Zone, dial: Dial) -> None:
    await until(lambda: bool(deaf.book.sessions))
    stream = dial()
    await stream.send(request(CLUSTER))
    found = await stream.read()
    assert found.resources[0].name == "large"


@pytest.mark.parametrize("content", [{}])
async def test_a_client_that_answers_no_ping_is_dropped(
    deaf: Zone, caplog: pytest.LogCaptureFixture
) -> None:
    await until(lambda: bool(deaf.book.sessions))
    [quiet] = deaf.server.proxies()
    await deaf.clock.advance(Limits().ping_interval + 1)
    await until(lambda: deaf.server.proxies()[0].bytes_sent > quiet.bytes_sent)
    await deaf.clock.advance(Limits().ping_timeout + 1)
    await until(lambda: deaf.server.connections == 0)
    assert "no answer to a ping" in caplog.text


class Quiet:
    """Takes a fleet's answers."""

    def __init__(self) -> None:
        """Start with none."""
        self.told: list[dict[str, object]] = []

    def __call__(self, answer: dict[str, object]) -> None:
        """Keep an answer."""
        self.told.append(answer)


def descriptors() -> int:
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


async def test_two_hundred_sessions_come_and_go_and_leave_nothing(
    zone: Zone, authority: Authority, web: Files
) -> None:
    zone.book.snapshot = snapshot({CLUSTER: {"api": "1"}})
    before = descriptors()
    tasks = len(asyncio.all_tasks())
    member = Member(need(), str(web.certificate), str(web.key))
    plan = Plan("127.0.0.1", zone.port, ZONE.server_name, str(authority.bundle), (member,) * 50)
    for _ in range(4):
        quiet = Quiet()
        fleet = Fleet(plan, quiet)
        await fleet.up(concurrency=50, timeout=30)
        assert quiet.told[-1]["complete"] == 50
        assert len(zone.book.sessions) == 50
        fleet.down()
        await until(lambda: zone.server.connections == 0)
        assert not zone.book.sessions
    # Fewer, if what an earlier test left to the collector is closed meanwhile.
    await until(lambda: descriptors() <= before)
    assert len(asyncio.all_tasks()) == tasks
