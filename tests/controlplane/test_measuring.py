"""Measuring a rollout: whose agents are asked, and what of their answers counts."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from http import HTTPStatus

import msgspec
import pytest

from mesh.agent import web
from mesh.clients.measurements import MeasurementClient, MeasurementError
from mesh.controlplane.hub import Hub
from mesh.controlplane.rollouts import measuring
from mesh.controlplane.rollouts.measuring import Measuring
from mesh.controlplane.rollouts.store import Published
from mesh.demo.loopback import free_ports
from mesh.model.identity import WorkloadId
from mesh.model.intentions import Action, Intention
from mesh.model.proxies import ProxyNeed, Upstream
from mesh.policies.rollouts.figures import Figures
from mesh.world.changes import (
    IntentionsChanged,
    RolloutsChanged,
)
from mesh.xds.status import Connected
from tests.controlplane.rollouts import NAME, Place, document


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
