"""Policies that cannot be seen any more stand; the last one that is deleted does not."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import pytest

from mesh.aio.clock import SystemClock
from mesh.aio.tasks import Tasks
from mesh.clients.consul import ConsulAddress, ConsulClient
from mesh.clients.consul.policies import Policies
from mesh.clients.consul.policy_records import Key, deletions, puts
from mesh.sources.consul import ConsulSource, Problems
from mesh.world.changes import PoliciesChanged
from tests.realconsul import RealConsul
from tests.sources.consul.recorder import Recorder
from tests.sources.consul.test_policies import document

WATCH = "kv/mesh/policies/default/"
READ = (
    'service_prefix "" {policy="read" intentions="read"} node_prefix "" {policy="read"} '
    'key_prefix "mesh/" {policy="read"} '
)
PROMPT = 2.0
"""Seconds within which a true deletion takes effect."""


@dataclass
class Watching:
    """A source whose token can lose rights, and what it said."""

    source: ConsulSource
    changes: Recorder
    registrar: ConsulClient
    policy: dict[str, Any]

    def names(self) -> set[str]:
        """Return the policies that stand."""
        last = self.changes.last(PoliciesChanged)
        return set() if last is None else {each.name for each in last.policies.values()}

    def error(self) -> str:
        """Return what ails the watch of policies."""
        return next(each.last_error for each in self.source.status() if each.name == WATCH)

    async def may(self, rules: str) -> None:
        """Let the token do what ``rules`` say; changes of policies make the watch look again."""
        await acl(self.registrar, f"policy/{self.policy['ID']}", {**self.policy, "Rules": rules})
        # Consul reads with the rights that the query began with.
        await self.apply("first")
        await self.changes.until(lambda: "first" in self.names() or self.error())
        await self.apply("second")

    async def apply(self, *names: str) -> None:
        """Apply policies."""
        store = Policies(self.registrar)
        wanted = [document(name, f"{time.monotonic_ns() % 1000 + 1}s") for name in names]
        await store.commit(puts(await store.read("default"), wanted))

    async def delete_all(self) -> None:
        """Delete every policy."""
        store = Policies(self.registrar)
        held = await store.read("default")
        await store.commit(deletions(held, [Key("default", k.kind, k.name) for k in held.indexes]))


async def acl(registrar: ConsulClient, path: str, body: object) -> dict[str, Any]:
    reply = await registrar.transport.request(
        "PUT",
        f"/v1/acl/{path}",
        headers={"X-Consul-Token": registrar.address.token},
        body=json.dumps(body).encode(),
    )
    found: dict[str, Any] = json.loads(reply.body)
    return found


@asynccontextmanager
async def watching(
    consul: RealConsul, registrar: ConsulClient, changes: Recorder, name: str
) -> AsyncIterator[Watching]:
    policy = await acl(registrar, "policy", {"Name": name, "Rules": READ})
    token = (await acl(registrar, "token", {"Policies": [{"ID": policy["ID"]}]}))["SecretID"]
    address = ConsulAddress(consul.url, token=token)
    async with ConsulClient(address) as client, Tasks() as tasks:
        source = ConsulSource(client, changes, Problems(), SystemClock())
        found = Watching(source, changes, registrar, policy)
        await found.apply("a", "b")
        tasks.spawn("source", source.run(), forever=True)
        await asyncio.wait_for(source.ready.wait(), 10)
        assert found.names() >= {"a", "b"}
        yield found
        await found.delete_all()


@pytest.mark.parametrize(
    "rules",
    [
        READ.replace('key_prefix "mesh/" {policy="read"}', ""),
        READ + 'key_prefix "mesh/policies/" {policy="deny"}',
    ],
    ids=["all of the mesh's keys", "policies alone"],
)
async def test_a_token_that_loses_its_rights_takes_no_policy_away(
    consul: RealConsul,
    registrar: ConsulClient,
    changes: Recorder,
    rules: str,
    request: pytest.FixtureRequest,
) -> None:
    name = f"zone-{len(request.node.name)}"
    async with watching(consul, registrar, changes, name) as found:
        await found.may(rules)
        await changes.until(lambda: "lost rights" in found.error())
        assert found.names() >= {"a", "b"}
        await found.may(READ)
        await found.apply("c")
        await changes.until(lambda: not found.error() and found.names() >= {"a", "b", "c"})


async def test_the_last_policy_that_is_deleted_is_gone_at_once(
    consul: RealConsul, registrar: ConsulClient, changes: Recorder
) -> None:
    async with watching(consul, registrar, changes, "deleting") as found:
        began = time.monotonic()
        await found.delete_all()
        await changes.until(lambda: not found.names())
        assert time.monotonic() - began < PROMPT
        assert found.error() == ""
