"""Policy documents in the embedded registry and in a real Consul 1.8."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from mesh.aio.clock import ManualClock
from mesh.clients.consul import ConsulAddress, ConsulClient, Forbidden, Unreachable
from mesh.clients.consul.policies import MOST, Conflict, Policies, TooMuch
from mesh.clients.consul.policy_records import KEPT, Key, deletions, puts
from mesh.embedded.server import EmbeddedRegistry
from tests.realconsul import BOOTSTRAP_TOKEN, RealConsul

START = datetime(2025, 1, 1, tzinfo=UTC)
RULES = 'key_prefix "mesh/" { policy = "%s" }'


def document(name: str, **spec: Any) -> dict[str, Any]:
    return {"type": "MeshTimeout", "name": name, "mesh": "default", "spec": spec}


def key(name: str) -> Key:
    return Key("default", "MeshTimeout", name)


@pytest.fixture(params=["embedded", "consul-1.8.7"])
async def open_store(
    request: pytest.FixtureRequest, tmp_path: Path
) -> AsyncIterator[Callable[[], Policies]]:
    """Return stores over one client, empty at first."""
    registry = None
    if request.param == "embedded":
        registry = EmbeddedRegistry(tmp_path)
        url = await registry.start("127.0.0.1", 0)
    else:
        url = request.getfixturevalue("consul").url
    async with ConsulClient(ConsulAddress(url)) as client:
        await client.kv_delete("mesh/", recurse=True)
        yield lambda: Policies(client, ManualClock())
    if registry is not None:
        await registry.close()


@pytest.fixture
def store(open_store: Callable[[], Policies]) -> Policies:
    return open_store()


async def put(store: Policies, *documents: dict[str, Any]) -> None:
    await store.commit(puts(await store.read("default"), documents))


async def test_what_is_applied_can_be_read_with_its_version_and_time(store: Policies) -> None:
    await put(store, document("a", x=1), document("b"))
    held = (await store.read("default")).documents
    assert {each.name: (found.version, found.applied_at) for each, found in held.items()} == {
        "a": (1, START),
        "b": (1, START),
    }
    assert held[key("a")].document == document("a", x=1)
    assert (await store.read("other")).documents == {}


async def test_only_what_differs_is_written(store: Policies) -> None:
    await put(store, document("a", x=1), document("b"))
    before = (await store.read("default")).documents
    changes = puts(await store.read("default"), [document("a", x=1.0), document("b")])
    assert [(each.changes, each.version) for each in changes] == [(True, 2), (False, 1)]
    await store.commit(changes)
    after = (await store.read("default")).documents
    assert after[key("a")].version == 2
    assert after[key("b")] == before[key("b")]
    assert [each.version for each in await store.history(key("b"))] == [1]


async def test_the_last_versions_are_kept(store: Policies) -> None:
    for number in range(KEPT + 3):
        await put(store, document("a", x=number))
    kept = await store.history(key("a"))
    assert [each.version for each in kept] == list(range(4, KEPT + 4))
    assert kept[0].document["spec"] == {"x": 3}
    assert (await store.read("default")).versions[key("a")] == tuple(range(4, KEPT + 4))


async def test_what_was_deleted_can_be_read_and_its_version_is_not_given_again(
    store: Policies,
) -> None:
    await put(store, document("a", x=1))
    await store.commit(deletions(await store.read("default"), [key("a"), key("none")]))
    assert (await store.read("default")).documents == {}
    assert [each.document["spec"] for each in await store.history(key("a"))] == [{"x": 1}]
    await put(store, document("a", x=2))
    assert (await store.read("default")).documents[key("a")].version == 2


async def test_names_that_begin_alike_keep_their_own_versions(store: Policies) -> None:
    await put(store, document("a"), document("a-b"))
    await put(store, document("a", x=1))
    assert [each.version for each in await store.history(key("a"))] == [1, 2]
    assert [each.version for each in await store.history(key("a-b"))] == [1]


async def test_a_change_meanwhile_is_told_and_nothing_is_applied(
    open_store: Callable[[], Policies],
) -> None:
    mine, other = open_store(), open_store()
    await put(mine, document("a"), document("b"))
    seen = await mine.read("default")
    await put(other, document("b", x="theirs"))
    with pytest.raises(
        Conflict, match=r"MeshTimeout b by .* at 2025-01-01 00:00:00 UTC \(v2\); nothing was ap"
    ):
        await mine.commit(puts(seen, [document("a", x="mine"), document("b", x="mine")]))
    with pytest.raises(Conflict):
        await mine.commit(deletions(seen, [key("a"), key("b")]))
    held = (await mine.read("default")).documents
    assert held[key("a")].version == 1
    assert held[key("b")].document["spec"] == {"x": "theirs"}
    await other.commit(deletions(await other.read("default"), [key("b")]))
    with pytest.raises(Conflict, match="MeshTimeout b was deleted"):
        await mine.commit(puts(seen, [document("b", x="mine")]))


async def test_one_that_came_and_went_meanwhile_is_a_conflict_too(store: Policies) -> None:
    seen = await store.read("default")
    await put(store, document("a", x=1))
    await store.commit(deletions(await store.read("default"), [key("a")]))
    with pytest.raises(Conflict, match="MeshTimeout a"):
        await store.commit(puts(seen, [document("a", x=2)]))
    assert [each.document["spec"] for each in await store.history(key("a"))] == [{"x": 1}]


async def test_all_or_none_up_to_what_a_transaction_takes(store: Policies) -> None:
    names = [f"n{number}" for number in range(MOST // 2)]
    for round_ in range(KEPT + 1):
        await put(store, *(document(name, x=round_) for name in names))
    held = await store.read("default")
    assert len(held.documents) == len(names)
    # No room was left to forget old versions; the next change with room does.
    assert held.versions[key("n0")][0] == 1
    await put(store, document("n0", x="last"))
    assert (await store.read("default")).versions[key("n0")] == tuple(range(3, 13))
    with pytest.raises(TooMuch, match=r"33 documents take 66 operations, and .* takes 64; nothing"):
        await put(store, *(document(f"m{number}") for number in range(33)))
    assert len((await store.read("default")).documents) == len(names)


async def test_what_no_document_is_is_named_and_can_be_replaced_and_deleted(
    store: Policies,
) -> None:
    client = store.client
    good = {"version": 1, "document": document("a"), "applied_at": "2025-01-01T00:00:00Z"}
    bad = {
        "a": b"{",
        "b": json.dumps({**good, "odd": 1}).encode(),
        "c": json.dumps(good).encode(),
        "d/e": json.dumps(good).encode(),
        "f": json.dumps({**good, "version": 0}).encode(),
    }
    for name, value in bad.items():
        await client.kv_put(key(name).path, value)
    await client.kv_put("mesh/policies/default/odd", b"")
    await client.kv_put("mesh/policies/default/folder/", b"")
    held = await store.read("default")
    assert held.documents == {}
    said = {each.name: str(error) for each, error in held.unreadable.items()}
    assert "holds no policy document" in said["a"]
    assert "odd" in said["b"]
    assert "document.name: is 'a', the key says c" in said["c"]
    assert "is not mesh/policies/<mesh>/<kind>/<name>: delete it" in said["d/e"]
    assert "version" in said["f"]
    assert len(held.unreadable) == 6
    await store.commit(puts(held, [document("a")]))
    gone = [each for each in held.unreadable if each != key("a")]
    await store.commit(deletions(await store.read("default"), gone))
    after = await store.read("default")
    assert (list(after.documents), after.unreadable) == ([key("a")], {})


async def test_a_document_too_large_for_a_transaction_is_refused(store: Policies) -> None:
    with pytest.raises(TooMuch, match="bytes, and a transaction takes"):
        await put(store, document("a", x="x" * 300_000))
    assert (await store.read("default")).documents == {}


async def test_nothing_to_do_asks_nothing() -> None:
    async with ConsulClient(ConsulAddress("http://127.0.0.1:1")) as client:
        await Policies(client).commit([])
        with pytest.raises(Unreachable):
            await Policies(client).read("default")


async def test_rights(tmp_path: Path) -> None:
    async with RealConsul(tmp_path, acls=True) as consul:
        everything = ConsulAddress(consul.url, token=BOOTSTRAP_TOKEN)
        async with ConsulClient(everything) as admin:
            accessors, secrets = {}, {}
            for policy in ("read", "write"):
                accessors[policy], secrets[policy] = await token(admin, policy)
        async with ConsulClient(ConsulAddress(consul.url, token=secrets["write"])) as client:
            await put(Policies(client), document("a"))
            (stored,) = (await Policies(client).read("default")).documents.values()
            assert stored.applied_by == accessors["write"]
            held = await Policies(client).read("default")
            await put(Policies(client), document("a", x=1))
            with pytest.raises(Conflict, match=f"by token {accessors['write']}"):
                await Policies(client).commit(puts(held, [document("a", x=2)]))
        async with ConsulClient(ConsulAddress(consul.url, token=secrets["read"])) as client:
            reader = Policies(client)
            assert len((await reader.read("default")).documents) == 1
            assert len(await reader.history(key("a"))) == 2
            with pytest.raises(Forbidden, match="ermission denied"):
                await put(reader, document("a", x=2))
            with pytest.raises(Forbidden, match="ermission denied"):
                await reader.commit(deletions(await reader.read("default"), [key("a")]))


async def token(admin: ConsulClient, policy: str) -> tuple[str, str]:
    """Make a token with ``policy`` on the mesh's keys: its accessor and its secret."""
    headers = {"X-Consul-Token": BOOTSTRAP_TOKEN}
    rules = json.dumps({"Name": policy, "Rules": RULES % policy}).encode()
    await admin.transport.request("PUT", "/v1/acl/policy", headers=headers, body=rules)
    body = json.dumps({"Policies": [{"Name": policy}]}).encode()
    reply = await admin.transport.request("PUT", "/v1/acl/token", headers=headers, body=body)
    made = json.loads(reply.body)
    return made["AccessorID"], made["SecretID"]
