"""A zone without proxies in which a rollout goes on."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import msgspec

from mesh.aio.clock import ManualClock
from mesh.clients.consul import ConsulClient
from mesh.clients.consul.policies import Policies
from mesh.clients.consul.policy_records import Key, deletions, puts
from mesh.controlplane.hub import Hub
from mesh.controlplane.rollouts.conductor import Conductor
from mesh.controlplane.rollouts.store import Published, RolloutStore
from mesh.model.entries import Entries, Resolver, ServiceDefaults, Subset
from mesh.model.services import Instance, Protocol
from mesh.policies.document import DEFAULT_MESH, parse
from mesh.policies.registry import KINDS
from mesh.policies.rollouts.figures import Figures
from mesh.policies.rollouts.state import State
from mesh.routing.bexpr import parse as filter_of
from mesh.world.changes import (
    ConfigEntriesChanged,
    InstancesChanged,
    PoliciesChanged,
)
from mesh.world.snapshot import World

NAME = "api-v2"


SUBSETS = {
    version: Subset(filter_of(f"Service.Meta.version == {version}")) for version in ("v1", "v2")
}


API = (
    Instance("api-1", "n1", "127.0.0.1", 20001, meta={"version": "v1"}),
    Instance("api-2", "n2", "127.0.0.1", 20002, meta={"version": "v2"}),
)


BEGAN = datetime(2025, 1, 1, tzinfo=UTC)


class Deaf:
    """Takes no notice of pushes."""

    def pushed(self, *, sessions: int, seconds: float, waited: float) -> None:
        """Do nothing."""


def document(**said: Any) -> dict[str, Any]:
    spec = {
        "service": "api",
        "stable": {"subset": "v1"},
        "canary": {"subset": "v2"},
        "steps": [{"weight": 5, "hold": "0"}, {"weight": 50, "hold": "0"}],
        **said,
    }
    return {"type": "MeshRollout", "name": NAME, "mesh": "default", "spec": spec}


def entries(default: str = "v1") -> ConfigEntriesChanged:
    resolver = Resolver("api", default_subset=default, subsets=SUBSETS)
    defaults = {"api": ServiceDefaults("api", Protocol.HTTP)}
    return ConfigEntriesChanged(Entries(defaults, resolvers={"api": resolver}), {})


@dataclass
class Place:
    """A zone without proxies, its Consul and its clock."""

    consul: ConsulClient
    hub: Hub
    clock: ManualClock
    conductor: Conductor

    @property
    def store(self) -> RolloutStore:
        """The states in its Consul."""
        return RolloutStore(self.consul)

    async def apply(self, *raws: dict[str, Any]) -> None:
        """Let these documents, and no others, stand."""
        policies = Policies(self.consul)
        held = await policies.read(DEFAULT_MESH)
        gone = {key for key in held.documents if key != Key(DEFAULT_MESH, "MeshRollout", NAME)}
        gone |= set() if raws else set(held.documents)
        await policies.commit([*puts(held, raws), *deletions(held, gone)])
        found = (await policies.read(DEFAULT_MESH)).documents.values()
        read = [parse(each.document, KINDS, version=each.version) for each in found]
        self.hub.emit(PoliciesChanged({each.key: each for each in read}))

    async def state(self) -> State | None:
        """Return where the rollout stands."""
        stored = await self.store.state(NAME)
        return stored.state if stored else None

    async def turn(self, **figures: Figures) -> State:
        """Let ten seconds pass in which instances measured these figures (in all), and conduct."""
        await self.clock.advance(10)
        before = await self.state()
        for instance, canary in figures.items():
            assert before is not None
            published = Published(
                before.run, self.clock.now(), self.clock.now(), canary, answered=1, callers=1
            )
            published = msgspec.structs.replace(published, began=BEGAN, places=1)
            await self.store.publish(NAME, instance, published)
        await self.conductor.turn()
        found = await self.state()
        assert found is not None
        return found

    def replaced(self) -> None:
        """Let somebody else lead."""
        self.conductor = Conductor(self.store, self.hub, self.clock)


def new_place(consul: ConsulClient) -> Place:
    """Make one with two versions of ``api``, and no rollout."""
    hub, clock = Hub(World("dc1", "mesh.test"), Deaf()), ManualClock()
    hub.emit(entries())
    hub.emit(InstancesChanged("api", API))
    return Place(consul, hub, clock, Conductor(RolloutStore(consul), hub, clock))
