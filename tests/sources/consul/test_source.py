"""The source against a real Consul 1.8 with ACLs."""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import pytest

from mesh.aio.clock import SystemClock
from mesh.aio.tasks import Tasks
from mesh.clients.consul import ConsulAddress, ConsulClient
from mesh.model.intentions import Action, Intention
from mesh.model.services import Health, Protocol
from mesh.sources.consul import ConsulSource, Problems, WatchSettings
from mesh.world.changes import (
    CatalogChanged,
    ConfigEntriesChanged,
    DefaultPolicyChanged,
    IntentionsChanged,
    VirtualAddressesChanged,
)
from tests.realconsul import RealConsul
from tests.sources.consul.recorder import Recorder

# Long enough for a busy machine, and within what the guard promises.
PROMPT = 2.0


@asynccontextmanager
async def watching(
    consul: RealConsul,
    changes: Recorder,
    *needed: str,
    token: str = "",
    problems: Problems | None = None,
    settings: WatchSettings | None = None,
) -> AsyncIterator[ConsulSource]:
    address = ConsulAddress(consul.url, token=token or consul.token)
    async with ConsulClient(address) as client, Tasks() as tasks:
        source = ConsulSource(client, changes, problems or Problems(), SystemClock(), settings)
        source.need(frozenset(needed))
        tasks.spawn("source", source.run(), forever=True)
        await asyncio.wait_for(source.ready.wait(), 10)
        yield source


def sidecar(service: str, number: int = 1, *, checked: bool = True) -> dict[str, Any]:
    definition: dict[str, Any] = {
        "ID": f"{service}-{number}-sidecar",
        "Name": f"{service}-sidecar-proxy",
        "Kind": "connect-proxy",
        "Address": "127.0.0.1",
        "Port": 21000 + number,
        "Proxy": {"DestinationServiceName": service, "DestinationServiceID": f"{service}-{number}"},
    }
    if checked:
        name = f"{service}-{number}-ttl"
        definition["Checks"] = [
            {"CheckID": name, "Name": "alive", "TTL": "600s", "Status": "passing"}
        ]
    return definition


def more_than(changes: Recorder, said: int) -> bool:
    return len(changes.changes) > said


def ports(changes: Recorder, service: str) -> list[int]:
    found = changes.instances(service)
    return [instance.port - 21000 for instance in found.instances] if found else [-1]


async def test_everything_is_said_once_before_it_is_ready(
    consul: RealConsul, registrar: ConsulClient, changes: Recorder
) -> None:
    await registrar.agent_register({"ID": "first-1", "Name": "first", "Port": 1})
    await registrar.agent_register(sidecar("first"))
    await registrar.intentions.put(Intention("web", "first", Action.ALLOW))
    await registrar.config_put({"Kind": "service-defaults", "Name": "first", "Protocol": "http"})
    await registrar.kv_put("mesh/vips/first", b'{"ipv4": "240.0.0.9", "ipv6": "fd00::9"}')
    async with watching(consul, changes, "first", "absent") as source:
        assert len(changes.changes) == 10
        catalog = changes.last(CatalogChanged)
        assert catalog is not None
        assert catalog.services == {"first"}
        assert ports(changes, "first") == [1]
        assert ports(changes, "absent") == []
        intentions = changes.last(IntentionsChanged)
        assert intentions is not None
        assert [item.label for item in intentions.by_destination["first"]] == ["web → first"]
        config = changes.last(ConfigEntriesChanged)
        assert config is not None
        assert config.entries.service_defaults["first"].protocol is Protocol.HTTP
        assert changes.last(DefaultPolicyChanged) == DefaultPolicyChanged(allow=False)
        vips = changes.last(VirtualAddressesChanged)
        assert vips is not None
        assert vips.addresses == {"first": ("240.0.0.9", "fd00::9")}
        assert all(status.last_success for status in source.status())
        assert {status.name for status in source.status()} >= {
            "catalog/services",
            "connect/intentions",
            "config",
            "default policy",
            "health/connect/first",
        }


async def test_instances_come_change_and_go(
    consul: RealConsul, registrar: ConsulClient, changes: Recorder
) -> None:
    await registrar.agent_register(sidecar("move"))
    async with watching(consul, changes, "move"):
        await registrar.agent_register(sidecar("move", 2))
        await changes.until(lambda: ports(changes, "move") == [1, 2], PROMPT)
        said = len(changes.changes)
        await registrar.agent_check_update("move-2-ttl", "passing", "only the output")
        await registrar.agent_check_update("move-2-ttl", "critical", "down")
        await changes.until(lambda: len(changes.changes) > said, PROMPT)
        found = changes.instances("move")
        assert found is not None
        assert [item.health for item in found.instances] == [Health.PASSING, Health.CRITICAL]
        assert len(changes.changes) == said + 1
        await registrar.agent_deregister("move-2-sidecar")
        await changes.until(lambda: ports(changes, "move") == [1], PROMPT)
        await registrar.agent_deregister("move-1-sidecar")
        await changes.until(lambda: ports(changes, "move") == [], PROMPT)


async def test_the_last_intention_goes_promptly(
    consul: RealConsul, registrar: ConsulClient, changes: Recorder
) -> None:
    for intention in await registrar.intentions.list():
        await registrar.intentions.delete(intention.source, intention.destination)
    await registrar.intentions.put(Intention("web", "last", Action.ALLOW))
    async with watching(consul, changes):
        await registrar.intentions.put(Intention("web", "last", Action.DENY))
        await changes.until(lambda: len(changes.all(IntentionsChanged)) == 2, PROMPT)
        began = time.monotonic()
        await registrar.intentions.delete("web", "last")
        await changes.until(lambda: changes.last(IntentionsChanged) == IntentionsChanged.of(()))
        assert time.monotonic() - began < PROMPT


async def test_a_token_that_loses_its_rights_deletes_nothing(
    consul: RealConsul, registrar: ConsulClient, changes: Recorder
) -> None:
    rules = 'service_prefix "" {policy="read" intentions="read"} node_prefix "" {policy="read"}'
    rules += ' key_prefix "mesh/" {policy="read"}'

    async def acl(path: str, body: object) -> Any:
        headers = {"X-Consul-Token": consul.token}
        reply = await registrar.transport.request(
            "PUT", f"/v1/acl/{path}", headers=headers, body=json.dumps(body).encode()
        )
        return json.loads(reply.body)

    policy = await acl("policy", {"Name": "zone", "Rules": rules})
    token = (await acl("token", {"Policies": [{"ID": policy["ID"]}]}))["SecretID"]
    for number in (1, 2):
        await registrar.agent_register(sidecar("keep", number))
    await registrar.intentions.put(Intention("web", "keep", Action.ALLOW))
    await registrar.kv_put("mesh/vips/keep", b'{"ipv4": "240.0.0.7", "ipv6": "fd00::7"}')
    async with watching(consul, changes, "keep", token=token) as source:
        await changes.until(lambda: ports(changes, "keep") == [1, 2])
        said = len(changes.changes)

        def lost() -> set[str]:
            ailing = [item for item in source.status() if "lost rights" in item.last_error]
            return {item.name for item in ailing}

        await acl(f"policy/{policy['ID']}", {**policy, "Rules": 'node_prefix "x" {policy="read"}'})
        # The queries that block notice when something wakes them.
        await registrar.agent_register(sidecar("keep", 3))
        await registrar.intentions.put(Intention("ops", "keep", Action.ALLOW))
        await changes.until(lambda: lost() >= {"connect/intentions", "health/connect/keep"})
        # Consul reads the catalog with the rights that the query began with, so this is the first
        # wake under the new ones.
        await registrar.agent_register({"ID": "keeper-1", "Name": "keeper", "Port": 1})
        await changes.until(lambda: "catalog/services" in lost())
        assert len(changes.changes) == said
        await acl(f"policy/{policy['ID']}", policy)
        await changes.until(lambda: ports(changes, "keep") == [1, 2, 3])
        await changes.until(lambda: not lost())
        intentions = changes.last(IntentionsChanged)
        assert intentions is not None
        groups = intentions.by_destination.values()
        assert {item.source for group in groups for item in group} == {"web", "ops"}


async def test_a_source_that_may_see_nothing_is_not_ready(
    consul: RealConsul, registrar: ConsulClient, changes: Recorder
) -> None:
    """A zone that starts after its token lost its rights must not empty its proxies.

    Consul answers it with empty lists; only the question for the default policy is refused.
    """
    await registrar.agent_register(sidecar("hidden"))
    reply = await registrar.transport.request(
        "PUT", "/v1/acl/token", headers={"X-Consul-Token": consul.token}, body=b"{}"
    )
    address = ConsulAddress(consul.url, token=json.loads(reply.body)["SecretID"])
    async with ConsulClient(address) as client, Tasks() as tasks:
        source = ConsulSource(client, changes, Problems(), SystemClock())
        source.need(frozenset({"hidden"}))
        tasks.spawn("source", source.run(), forever=True)

        def silent() -> set[str]:
            return {each.name for each in source.status() if each.last_success is None}

        await changes.until(lambda: silent() == {"default policy"})
        await changes.until(lambda: [each for each in source.status() if each.last_error])
        assert not source.ready.is_set()


async def test_services_beyond_the_budget_are_swept(
    consul: RealConsul, registrar: ConsulClient, changes: Recorder
) -> None:
    names = [f"sweep{number}" for number in range(5)]
    for name in names:
        await registrar.agent_register(sidecar(name))
    settings = WatchSettings(max_watches=1, sweepers=2)
    async with watching(consul, changes, *names, settings=settings) as source:
        assert [ports(changes, name) for name in names] == [[1]] * 5
        await registrar.agent_check_update("sweep3-1-ttl", "critical", "down")

        def critical() -> bool:
            found = changes.instances("sweep3")
            return found is not None and found.instances[0].health is Health.CRITICAL

        await changes.until(critical, PROMPT)
        await registrar.agent_register(sidecar("sweep4", 2, checked=False))
        await changes.until(lambda: ports(changes, "sweep4") == [1, 2], PROMPT)
        await registrar.agent_deregister("sweep2-1-sidecar")
        await changes.until(lambda: ports(changes, "sweep2") == [], PROMPT)
        source.need(frozenset({"sweep1", "sweep4", "late"}))
        await changes.until(lambda: ports(changes, "late") == [], PROMPT)
        assert {item.name for item in source.status() if "connect/" in item.name} >= {
            "health/connect/late",
            "health/connect/sweep1",
        }
        await registrar.agent_register(sidecar("late"))
        await changes.until(lambda: ports(changes, "late") == [1], PROMPT)


async def test_a_malformed_entry_is_named_and_the_last_good_stands(
    consul: RealConsul, registrar: ConsulClient, changes: Recorder
) -> None:
    entry = {"Kind": "service-defaults", "Name": "typo", "Protocol": "http"}
    await registrar.config_put(entry)
    problems = Problems()
    async with watching(consul, changes, problems=problems):
        await registrar.config_put({**entry, "Protocol": "htpp"})
        await changes.until(lambda: problems.current)
        assert [(item.kind, item.name) for item in problems.current] == [
            ("service-defaults", "typo")
        ]
        await registrar.config_put({**entry, "Protocol": "grpc"})
        await changes.until(lambda: not problems.current)
        config = changes.last(ConfigEntriesChanged)
        assert config is not None
        assert config.entries.service_defaults["typo"].protocol is Protocol.GRPC
        assert len(changes.all(ConfigEntriesChanged)) == 2


@pytest.mark.alone
async def test_a_change_takes_milliseconds_from_consul_to_emission(
    consul: RealConsul, registrar: ConsulClient, changes: Recorder
) -> None:
    await registrar.agent_register(sidecar("fast"))
    async with watching(consul, changes, "fast"):
        best = 1.0
        for number in range(10):
            said = len(changes.changes)
            status = ("warning", "passing")[number % 2]
            began = time.monotonic()
            await registrar.agent_check_update("fast-1-ttl", status)
            await changes.until(partial(more_than, changes, said))
            best = min(best, time.monotonic() - began)
    assert best < 0.05


class Relay:
    """A way to Consul that a test can cut."""

    def __init__(self, target: int) -> None:
        """Lead to ``target`` on loopback once opened."""
        self._target = target
        self._server: asyncio.Server | None = None
        self._writers: list[asyncio.StreamWriter] = []
        self.port = 0

    async def open(self) -> None:
        """Listen, at the same port as before."""
        self._server = await asyncio.start_server(self._forward, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def cut(self) -> None:
        """Refuse new connections and break those there are."""
        if self._server is not None:
            self._server.close()
            await self._server.wait_closed()
        writers, self._writers = self._writers, []
        for writer in writers:
            writer.transport.abort()

    async def _forward(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._target)
        self._writers += (writer, far_writer)
        await asyncio.gather(
            self._pump(reader, far_writer),
            self._pump(far_reader, writer),
            return_exceptions=True,
        )

    @staticmethod
    async def _pump(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        while data := await source.read(65536):
            sink.write(data)
            await sink.drain()
        sink.close()


async def test_consul_being_gone_is_outlived(
    registrar: ConsulClient, consul: RealConsul, changes: Recorder
) -> None:
    await registrar.agent_register(sidecar("outlive"))
    relay = Relay(consul.port)
    await relay.open()
    address = ConsulAddress(f"http://127.0.0.1:{relay.port}", token=consul.token)
    settings = WatchSettings(backoff_base=0.01, backoff_cap=0.1, policy_every=0.1)
    try:
        async with ConsulClient(address) as client, Tasks() as tasks:
            source = ConsulSource(client, changes, Problems(), SystemClock(), settings)
            source.need(frozenset({"outlive"}))
            tasks.spawn("source", source.run(), forever=True)
            await asyncio.wait_for(source.ready.wait(), 10)
            said = len(changes.changes)
            await relay.cut()
            await changes.until(lambda: all(item.last_error for item in source.status()))
            assert len(changes.changes) == said
            await registrar.agent_register(sidecar("outlive", 2))
            await relay.open()
            await changes.until(lambda: ports(changes, "outlive") == [1, 2])
            await changes.until(lambda: not any(item.last_error for item in source.status()))
    finally:
        await relay.cut()
