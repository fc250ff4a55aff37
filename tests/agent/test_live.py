"""The whole proxy against a zone that has xDS: live, then everything away, then live again."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import socket
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from envoy.config.cluster.v3 import cluster_pb2
from envoy.config.core.v3 import extension_pb2
from envoy.config.endpoint.v3 import endpoint_pb2
from envoy.config.listener.v3 import listener_pb2
from envoy.config.route.v3 import route_pb2
from envoy.extensions.filters.http.router.v3 import router_pb2
from envoy.extensions.filters.network.http_connection_manager.v3 import (
    http_connection_manager_pb2,
)
from envoy.extensions.filters.network.rbac.v3 import rbac_pb2
from envoy.extensions.filters.network.tcp_proxy.v3 import tcp_proxy_pb2
from google.protobuf import json_format

from mesh.agent.settings import AgentSettings, Consul
from mesh.agent.state import StateDir
from mesh.agent.supervisor import LAST_GOOD
from mesh.envoy.resource import (
    CLUSTER,
    ENDPOINTS,
    EXTENSION,
    LISTENER,
    ROUTE,
    Resource,
    Snapshot,
    pack,
)
from mesh.model.identity import WorkloadId
from mesh.model.proxies import ProxyNeed
from mesh.xds.server import XdsServer
from tests.agent import discovery
from tests.agent.conftest import free_port
from tests.agent.envoys import end_all
from tests.agent.fakezone import DOMAIN, ZONE, FakeZone
from tests.agent.running import agent, kill_envoys, says
from tests.waiting import until

# What the Any fields below hold must be known to protobuf.
KNOWN = (router_pb2, http_connection_manager_pb2, rbac_pb2, tcp_proxy_pb2)
ADS = {"ads": {}, "resource_api_version": "V3"}


class Book:
    """A directory with one snapshot for everybody."""

    def __init__(self, snapshot: Snapshot) -> None:
        """Nobody is connected."""
        self.snapshot = snapshot
        self.sessions: dict[int, ProxyNeed] = {}

    def connect(self, session: int, identity: WorkloadId, need: ProxyNeed) -> Snapshot:
        """Let everybody in that is who it says."""
        assert identity.service == need.service
        self.sessions[session] = need
        return self.snapshot

    def disconnect(self, session: int) -> None:
        """Forget a session."""
        self.sessions.pop(session)


def by_ads(value: Any) -> Any:
    """Have everything come from the zone instead of from files."""
    if isinstance(value, list):
        return [by_ads(each) for each in value]
    if not isinstance(value, dict):
        return value
    return ADS if "path_config_source" in value else {k: by_ads(v) for k, v in value.items()}


def resource(name: str, raw: Any, message: Any) -> Resource:
    return pack(name, json_format.ParseDict(by_ads(raw), message))


def snapshot(need: ProxyNeed, outbound: int, application: int) -> Snapshot:
    assert need.inbound is not None
    cluster = discovery.eds_cluster("local_app")
    local = discovery.assignment("local_app", application)
    listeners = {
        "inbound": discovery.tcp_listener(need.inbound.port),
        "outbound": discovery.http_listener(outbound),
    }
    return {
        CLUSTER: (resource("local_app", cluster, cluster_pb2.Cluster()),),
        ENDPOINTS: (resource("local_app", local, endpoint_pb2.ClusterLoadAssignment()),),
        LISTENER: tuple(
            resource(name, raw, listener_pb2.Listener()) for name, raw in listeners.items()
        ),
        ROUTE: (
            resource("outbound", discovery.route("local_app"), route_pb2.RouteConfiguration()),
        ),
        EXTENSION: (
            resource("authorization", discovery.allow_all(), extension_pb2.TypedExtensionConfig()),
        ),
    }


@contextlib.asynccontextmanager
async def xds(zone: FakeZone, book: Book, port: int) -> AsyncIterator[XdsServer]:
    context = zone.tls(required=True)
    server = XdsServer(book, lambda: context, trust_domain=DOMAIN, zone=ZONE)
    await server.start("127.0.0.1", port)
    try:
        yield server
    finally:
        await server.close(0.1)


@pytest.fixture
def place(settings: AgentSettings, zone: FakeZone) -> Iterator[AgentSettings]:
    zone.xds = [f"127.0.0.1:{free_port()}"]
    yield settings
    state = StateDir(settings.state_dir)
    end_all(state)
    state.close()


async def test_live_then_nobody_then_live_again(place: AgentSettings, zone: FakeZone) -> None:
    need = place.need(ZONE)
    port = int(zone.xds[0].rpartition(":")[2])
    assert place.inbound is not None
    book = Book(snapshot(need, free_port(), place.inbound.local_port))
    with socket.create_server(("127.0.0.1", place.inbound.local_port)):
        async with xds(zone, book, port), agent(place):
            await until(lambda: says(place, "mesh_agent_config_live 1"))
            assert list(book.sessions.values()) == [need]
            record = place.state_dir / LAST_GOOD
            await until(record.exists, what="the last known good is written")
            known = {
                each["name"]
                for each in json.loads(record.read_text())["static_resources"]["listeners"]
            }
            assert known == {"inbound", "outbound"}
        kill_envoys(place)
        # No zone, no Envoy, no agent, no DNS, no Consul: everything of before is on disk.
        away = dataclasses.replace(
            place,
            zone_api=(("zone.invalid", free_port()),),
            register="consul",
            consul=Consul(url=f"http://127.0.0.1:{free_port()}"),
        )
        async with agent(away):
            await until(lambda: says(place, "mesh_agent_config_last_good 1"))
            with socket.create_connection((place.inbound.address, place.inbound.port)):
                pass
        # The zone is back: the Envoy that served is taken over, and then relieved.
        async with xds(zone, book, port), agent(place):
            await until(lambda: says(place, "mesh_agent_config_live 1"))
            assert list(book.sessions.values()) == [need]
