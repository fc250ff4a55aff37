"""The hub: what a proxy hears at once, and what it does not hear before it is known."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

import pytest

from mesh.controlplane.hub import Hub
from mesh.envoy.resource import CLUSTER, Snapshot
from mesh.model.entries import Entries, Resolver, ResolverRedirect
from mesh.model.identity import WorkloadId
from mesh.model.intentions import Action, Intention
from mesh.model.proxies import ProxyNeed, Upstream
from mesh.model.services import Instance
from mesh.world.changes import (
    ConfigEntriesChanged,
    InstancesChanged,
    InstancesForgotten,
    IntentionsChanged,
)
from mesh.world.snapshot import World

WEB = WorkloadId("mesh.test", "dc1", "web")
NEED = ProxyNeed("web", "dc1", None, (Upstream("api", 9001), Upstream("db", 9002)))
INTENTIONS = (Intention("web", "api", Action.ALLOW), Intention("web", "db", Action.ALLOW))
ALLOWED = IntentionsChanged.of(INTENTIONS)


class Told:
    """What was pushed to whom, and which services were asked for."""

    def __init__(self) -> None:
        """Nothing yet."""
        self.pushes: list[Mapping[int, Snapshot]] = []
        self.needed: frozenset[str] = frozenset()

    def pushed(self, *, sessions: int, seconds: float, waited: float) -> None:
        """Take no notice of the figures."""

    def need(self, services: frozenset[str]) -> None:
        """Note what is asked for."""
        self.needed = services

    def clusters(self, session: int) -> list[list[str]]:
        """Return the clusters of each push to ``session``."""
        found = [push[session] for push in self.pushes if session in push]
        return [[cluster.name for cluster in snapshot[CLUSTER]] for snapshot in found]


@pytest.fixture
def told() -> Told:
    return Told()


@pytest.fixture
async def hub(told: Told) -> Hub:
    made = Hub(World("dc1", "mesh.test"), told)
    made.attach(publish=told.pushes.append, need=told.need)
    made.emit(ALLOWED)
    return made


def known(service: str) -> InstancesChanged:
    return InstancesChanged(service, (Instance(service, "n1", "127.0.0.1", 20000),))


async def all_pushes(hub: Hub) -> None:
    """Let the hub push until it has nothing left."""
    deadline = asyncio.get_running_loop().time() + 10
    while hub._scheduled is not None:  # noqa: SLF001 - nothing outside tells that it rests
        assert asyncio.get_running_loop().time() < deadline, "it pushes for ever"
        await asyncio.sleep(0)


async def test_a_proxy_hears_nothing_before_all_that_it_depends_on_is_known(
    hub: Hub, told: Told
) -> None:
    assert hub.connect(1, WEB, NEED) is None
    assert told.needed == {"api", "db"}
    hub.emit(known("api"))
    await all_pushes(hub)
    assert told.clusters(1) == []
    hub.emit(known("db"))
    await all_pushes(hub)
    assert told.clusters(1) == [["api", "db"]]


async def test_a_service_that_calls_come_to_end_at_is_asked_for(hub: Hub, told: Told) -> None:
    hub.emit(known("api"))
    hub.emit(known("db"))
    await all_pushes(hub)
    assert hub.connect(1, WEB, NEED) is not None
    resolver = Resolver("api", redirect=ResolverRedirect(service="other"))
    hub.emit(ConfigEntriesChanged(Entries(resolvers={"api": resolver}), {}))
    await all_pushes(hub)
    assert "other" in told.needed
    # What there was stands meanwhile.
    assert told.clusters(1) == []
    hub.emit(known("other"))
    await all_pushes(hub)
    assert told.needed == {"other", "db"}


async def test_what_is_forgotten_while_a_proxy_comes_is_not_taken_from_it(
    hub: Hub, told: Told
) -> None:
    """Nobody needed it any more; before that was pushed, somebody did again."""
    for service in ("api", "db"):
        hub.emit(known(service))
    await all_pushes(hub)
    hub.emit(InstancesForgotten("db"))
    snapshot = hub.connect(1, WEB, NEED)
    assert snapshot is not None
    await all_pushes(hub)
    assert told.clusters(1) == []
    hub.emit(IntentionsChanged.of(INTENTIONS[:1]))
    await all_pushes(hub)
    assert told.clusters(1) == []
    hub.emit(known("db"))
    await all_pushes(hub)
    assert told.clusters(1) == [["api"]]
