"""Rollouts in a zone: what is measured, who counts it, and what is written."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any

import msgspec
import pytest

from mesh.agent import web
from mesh.aio.clock import ManualClock
from mesh.clients.consul import ConsulClient
from mesh.clients.consul.policies import Policies
from mesh.clients.consul.policy_records import Key, deletions, puts
from mesh.clients.measurements import MeasurementClient, MeasurementError
from mesh.controlplane.hub import Hub
from mesh.controlplane.rollouts import measuring
from mesh.controlplane.rollouts.conductor import Conductor
from mesh.controlplane.rollouts.measuring import Measuring
from mesh.controlplane.rollouts.store import MEASUREMENTS, Published, RolloutStore
from mesh.demo.loopback import free_ports
from mesh.model.entries import Entries, Resolver, ServiceDefaults, Subset
from mesh.model.identity import WorkloadId
from mesh.model.intentions import Action, Intention
from mesh.model.proxies import ProxyNeed, Upstream
from mesh.model.rollouts import Rollout
from mesh.model.services import Instance, Protocol
from mesh.policies.document import DEFAULT_MESH, parse
from mesh.policies.registry import KINDS
from mesh.policies.rollouts.figures import Figures
from mesh.policies.rollouts.state import Phase, State
from mesh.policies.rollouts.wishes import Wish, fulfil
from mesh.routing.bexpr import parse as filter_of
from mesh.world.changes import (
    ConfigEntriesChanged,
    InstancesChanged,
    IntentionsChanged,
    PoliciesChanged,
    RolloutsChanged,
)
from mesh.world.snapshot import World
from mesh.xds.status import Connected

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


@pytest.fixture
async def place(consul: ConsulClient) -> Place:
    hub, clock = Hub(World("dc1", "mesh.test"), Deaf()), ManualClock()
    hub.emit(entries())
    hub.emit(InstancesChanged("api", API))
    return Place(consul, hub, clock, Conductor(RolloutStore(consul), hub, clock))


async def test_the_instances_sums_are_added_up(place: Place) -> None:
    await place.apply(document())
    await place.conductor.turn()
    found = await place.turn(one=Figures(60), two=Figures(30))
    assert found.reason == "waits for requests: 90 of 100"
    found = await place.turn(one=Figures(70), two=Figures(30))
    assert (found.step, found.weight) == (1, 50)
    found = await place.turn(one=Figures(120, 20), two=Figures(90))
    assert (found.phase, found.weight) == (Phase.ROLLED_BACK, 0)
    assert found.reason == "success rate 81.82% is below 99%"
    # Nobody needs them any more.
    await place.conductor.turn()
    assert (await place.consul.kv_keys(MEASUREMENTS)).value == ()


async def test_a_new_leader_goes_on_and_counts_nothing_twice(place: Place) -> None:
    await place.apply(document())
    await place.conductor.turn()
    await place.turn(one=Figures(60, 0))
    place.replaced()
    found = await place.turn(one=Figures(1060, 1000))
    assert (found.phase, found.canary_window.requests) == (Phase.PROGRESSING, 60)
    found = await place.turn(one=Figures(1100, 1000))
    assert (found.step, found.reason) == (1, "the gates are satisfied by 100 requests")


async def test_what_a_person_asked_meanwhile_is_not_overwritten(place: Place) -> None:
    await place.apply(document())
    await place.conductor.turn()

    class Slow(RolloutStore):
        async def measurements(self, name: str, run: str) -> Mapping[str, Published]:
            stored = await self.state(name)
            assert stored is not None
            wish = fulfil(Wish.ABORT, stored.state, place.clock.now())
            await self.put(name, wish, stored.index)
            return await super().measurements(name, run)

    place.conductor = Conductor(Slow(place.consul), place.hub, place.clock)
    found = await place.turn(one=Figures(1000))
    assert (found.phase, found.weight) == (Phase.ABORTED, 0)
    assert (await place.turn()).phase is Phase.ABORTED


async def test_why_it_does_not_begin_is_told(place: Place) -> None:
    await place.apply(document(canary={"subset": "v3"}))
    await place.conductor.turn()
    found = await place.state()
    assert found is not None
    assert found.phase is Phase.PENDING
    assert "v3" in found.reason
    place.hub.emit(InstancesChanged("api", API[:1]))
    await place.apply(document())
    await place.conductor.turn()
    found = await place.state()
    assert found is not None
    assert (found.phase, found.reason) == (Phase.PENDING, "v2.api has no healthy instance")


async def test_only_what_consul_still_holds_begins(place: Place) -> None:
    await place.apply(document())
    await place.consul.kv_delete("mesh/policies/", recurse=True)
    await place.conductor.turn()
    assert await place.state() is None


async def test_an_unfinished_rollout_without_a_document_is_forgotten(place: Place) -> None:
    await place.apply(document())
    await place.conductor.turn()
    place.hub.emit(RolloutsChanged({"api": Rollout(NAME, *_targets(await place.state()), 500)}))
    await place.apply()
    await place.conductor.turn()
    assert await place.state() is None


async def test_a_promoted_one_without_a_document_stays_while_calls_depend_on_it(
    place: Place,
) -> None:
    await place.apply(document())
    await place.conductor.turn()
    await place.turn(one=Figures(100))
    found = await place.turn(one=Figures(200))
    assert found.phase is Phase.PROMOTED
    place.hub.emit(RolloutsChanged({"api": found.rollout(NAME)}))
    await place.apply()
    await place.conductor.turn()
    found = await place.turn()
    assert (found.phase, found.weight) == (Phase.PROMOTED, 100)
    assert found.reason.startswith("its document was deleted")
    place.hub.emit(entries(default="v2"))
    await place.conductor.turn()
    assert await place.state() is None


def _targets(state: State | None) -> tuple[Any, Any]:
    assert state is not None
    return state.stable.target, state.canary.target


class Agents:
    """The agents of some proxies, each with an answer that a test sets."""

    def __init__(self, count: int) -> None:
        """Choose a port for each."""
        self.ports = free_ports(count)
        self.answers: dict[int, dict[str, dict[str, int]]] = {port: {} for port in self.ports}
        self.asked: list[str] = []

    async def start(self, stack: AsyncExitStack) -> None:
        """Let them listen until ``stack`` ends."""
        for port in self.ports:
            await stack.enter_async_context(
                await web.serve(("127.0.0.1", port), {}, {"/measurements": self._page(port)})
            )

    def _page(self, port: int) -> web.Asked:
        async def page(query: str) -> web.Page:
            self.asked.append(query)
            body = msgspec.json.encode({"clusters": self.answers[port]})
            return web.Page(HTTPStatus.OK, body)

        return page


@pytest.fixture
async def agents() -> AsyncIterator[Agents]:
    async with AsyncExitStack() as stack:
        made = Agents(3)
        await made.start(stack)
        yield made


def _proxy(number: int, metrics: str, service: str = "web") -> Connected:
    need = ProxyNeed(service, "dc1", None, (Upstream("api", 9001),), metrics=metrics)
    return Connected(number, f"{service}/{number}", need, "127.0.0.1:50000")


def _connect(hub: Hub, proxies: list[Connected]) -> None:
    for proxy in proxies:
        identity = WorkloadId("mesh.test", "dc1", proxy.need.service)
        hub.connect(proxy.session, identity, proxy.need)


async def test_only_callers_are_asked_and_only_growth_counts(place: Place, agents: Agents) -> None:
    hub, (first, second, _) = place.hub, agents.ports
    await place.apply(document())
    hub.emit(IntentionsChanged.of((Intention("web", "api", Action.ALLOW),)))
    await place.conductor.turn()
    state = await place.state()
    assert state is not None
    hub.emit(RolloutsChanged({"api": state.rollout(NAME)}))
    # One says its whole place, one only its port, one cannot be asked, one may not call.
    proxies = [
        _proxy(1, f"127.0.0.1:{first}"),
        _proxy(2, f":{second}"),
        _proxy(3, ""),
        _proxy(4, f"127.0.0.1:{agents.ports[2]}", "stranger"),
    ]
    _connect(hub, proxies)
    part = Measuring(hub, lambda: proxies, place.store, "one", place.clock)

    async def measured() -> Published:
        await place.clock.advance(10)
        await part.turn(client)
        return (await place.store.measurements(NAME, state.run))["one"]

    async with MeasurementClient() as client:
        agents.answers[first] = {"v2.api": {"upstream_rq_2xx": 1000, "le/10": 1000}}
        found = await measured()
        assert (found.callers, found.places, found.answered) == (3, 2, 2)
        assert found.canary == Figures()
        agents.answers[first] = {
            "v2.api": {"upstream_rq_2xx": 1010, "upstream_rq_5xx": 5, "le/10": 1015},
            "v1.api": {"upstream_rq_2xx": 7},
        }
        agents.answers[second] = {"v2.api": {"upstream_rq_2xx": 1}}
        found = await measured()
        assert found.canary == Figures(16, 5, {"10": 15})
        assert found.stable == Figures(7)
        # Its proxy was restarted.
        agents.answers[first] = {"v2.api": {"upstream_rq_2xx": 2, "le/10": 2}}
        assert (await measured()).canary == Figures(18, 5, {"10": 17})
        assert all(query == "cluster=v2.api&cluster=v1.api" for query in agents.asked)
        # It is over: nobody is asked any more.
        hub.emit(RolloutsChanged({}))
        count = len(agents.asked)
        await part.turn(client)
        assert len(agents.asked) == count


async def test_of_many_callers_a_steady_sample_is_asked(place: Place, agents: Agents) -> None:
    await place.apply(document())
    await place.conductor.turn()
    state = await place.state()
    assert state is not None
    place.hub.emit(IntentionsChanged.of((Intention("web", "api", Action.ALLOW),)))
    place.hub.emit(RolloutsChanged({"api": state.rollout(NAME)}))
    proxies = [_proxy(number, f"127.0.0.1:{agents.ports[0]}") for number in range(120)]
    _connect(place.hub, proxies)
    await place.clock.advance(1)
    part = Measuring(place.hub, lambda: proxies, place.store, "one", place.clock)
    async with MeasurementClient() as client:
        await part.turn(client)
        found = (await place.store.measurements(NAME, state.run))["one"]
    assert (found.callers, found.places, found.answered) == (120, 50, 50)
    assert len(agents.asked) == measuring.SAMPLE


@pytest.mark.parametrize(
    "body", [b"", b"[]", b'{"clusters":{"a":{"b":"c"}}}', b'{"clusters":{},"more":1}', b"x" * 9999]
)
async def test_nonsense_from_an_agent_is_refused(body: bytes) -> None:
    async def page(_: str) -> web.Page:
        return web.Page(HTTPStatus.OK, body)

    (port,) = free_ports(1)
    async with (
        await web.serve(("127.0.0.1", port), {}, {"/measurements": page}),
        MeasurementClient() as client,
    ):
        with pytest.raises(MeasurementError, match="not answer with measurements"):
            await client.ask(f"127.0.0.1:{port}", ["api"])


async def test_an_agent_that_is_away_is_told_of() -> None:
    (port,) = free_ports(1)
    async with MeasurementClient() as client:
        with pytest.raises(MeasurementError, match="does not answer"):
            await client.ask(f"127.0.0.1:{port}", ["api"])
