"""What cannot be used as it stands is told by who is to blame, and with what holds meanwhile."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from mesh.controlplane import faults
from mesh.controlplane.hub import Hub
from mesh.envoy.resource import Snapshot
from mesh.model.entries import Entries, ServiceDefaults, Split, Splitter
from mesh.model.identity import WorkloadId
from mesh.model.proxies import ProxyNeed, Upstream
from mesh.model.services import Instance, Protocol
from mesh.model.violations import InvalidInputError, Violation
from mesh.policies.kinds.proxy_patch import PatchError
from mesh.sources.consul.problems import Problem
from mesh.world.changes import ConfigEntriesChanged, InstancesChanged
from mesh.world.snapshot import World
from tests.controlplane.test_hub import Told, all_pushes

WEB = WorkloadId("mesh.test", "dc1", "web")
HTTP = {"api": ServiceDefaults("api", Protocol.HTTP)}
LOST = Splitter("api", (Split(100.0, subset="gone"),))


@pytest.fixture
async def hub() -> Hub:
    told = Told()
    made = Hub(World("dc1", "mesh.test", default_allow=True), told)

    def publish(_: Mapping[int, Snapshot]) -> None:
        """Tell nobody."""

    made.attach(publish=publish, need=told.need)
    made.emit(InstancesChanged("api", (Instance("api", "n1", "127.0.0.1", 20000),)))
    return made


async def entries(hub: Hub, found: Entries) -> None:
    hub.emit(ConfigEntriesChanged(found, {}))
    await all_pushes(hub)


def told(hub: Hub) -> list[tuple[str, str, str, list[str]]]:
    found = faults.unroutable(hub.unroutable, hub.standing)
    return [(each.kind, each.name, each.standing, each.services) for each in found]


async def test_an_entry_that_breaks_a_chain_is_named_with_what_stands(hub: Hub) -> None:
    await entries(hub, Entries(HTTP))
    hub.connect(1, WEB, ProxyNeed("web", "dc1", None, (Upstream("api", 9001),)))
    assert told(hub) == []
    await entries(hub, Entries(HTTP, splitters={"api": LOST}))
    ((kind, name, standing, services),) = told(hub)
    assert (kind, name, services) == ("service-splitter", "api", ["api"])
    assert standing == "calls go on as they last could be routed"
    (problem,) = faults.unroutable(hub.unroutable, hub.standing)
    (violation,) = problem.violations
    assert violation.path == "Splits[0].ServiceSubset"
    assert "gone" in violation.message
    await entries(hub, Entries(HTTP))
    assert told(hub) == []


async def test_what_never_could_be_routed_is_refused(hub: Hub) -> None:
    await entries(hub, Entries(HTTP, splitters={"api": LOST}))
    hub.connect(1, WEB, ProxyNeed("web", "dc1", None, (Upstream("api", 9001),)))
    ((_, _, standing, _),) = told(hub)
    assert standing == "calls are refused, with 503 where they are HTTP"


def test_parts_that_cannot_be_made_are_told_once_by_whoever_is_to_blame() -> None:
    patch = PatchError("MeshProxyPatch odd", "Cluster 'api'", "no such field")
    invalid = InvalidInputError("inbound policies", (Violation("rules", "too many"),))
    found = list(
        faults.broken(
            {
                "calls of web to api": patch,
                "calls of admin to api": patch,
                "inbound side of api": invalid,
                "inbound side of db": KeyError("x"),
            }
        )
    )
    assert [(each.kind, each.name) for each in found] == [
        ("MeshProxyPatch", "odd"),
        ("proxy configuration", "inbound side of api"),
        ("proxy configuration", "inbound side of db"),
    ]
    assert found[0].violations[0].path == "Cluster 'api'"
    assert found[1].violations[0].message == "too many"
    assert found[2].message == "KeyError: 'x' (what the proxies have stands)"


def test_what_cannot_be_read_is_told_with_paths() -> None:
    read = Problem("service-defaults", "api", (Violation("Protocol", "is no protocol"),))
    (found,) = faults.unread([read])
    assert found.message == "Protocol: is no protocol (the last good version stands)"
    assert [(each.path, each.message) for each in found.violations] == [
        ("Protocol", "is no protocol")
    ]
