"""The primary's policies in another zone's KV."""

from __future__ import annotations

import base64

from mesh.clients.consul import ConsulClient, KeyValue
from mesh.controlplane.federation.mirroring import Operation, batches, changes


def pairs(prefix: str, **values: str) -> list[KeyValue]:
    return [
        KeyValue(f"{prefix}default/MeshRetry/{name}", base64.b64encode(value.encode()).decode())
        for name, value in values.items()
    ]


def primary(**values: str) -> list[KeyValue]:
    return pairs("mesh/policies/", **values)


def copies(**values: str) -> list[KeyValue]:
    return pairs("mesh/mirror/policies/", **values)


def told(operations: list[Operation]) -> list[tuple[str, str]]:
    return [(each["KV"]["Verb"], each["KV"]["Key"].rpartition("/")[2]) for each in operations]


def test_what_is_the_same_is_left_alone() -> None:
    assert not list(changes(primary(a="1", b="2"), copies(a="1", b="2")))
    assert not list(changes([], []))


def test_what_comes_is_written_before_what_goes() -> None:
    found = list(changes(primary(a="1", new="2", b="9"), copies(a="1", b="2", old="2")))
    assert told(found) == [("set", "new"), ("set", "b"), ("delete", "old")]
    written = found[0]["KV"]
    assert written["Key"] == "mesh/mirror/policies/default/MeshRetry/new"
    assert base64.b64decode(written["Value"]) == b"2"


async def test_many_and_large_policies_are_copied(consul: ConsulClient) -> None:
    large = primary(**{f"p{number}": "x" * 20_000 for number in range(100)})
    found = list(batches(changes(large, [])))
    assert [operation for batch in found for operation in batch] == list(changes(large, []))
    for batch in found:
        await consul.txn(batch)
    copied = (await consul.kv_list("mesh/mirror/")).value
    assert not list(changes(large, copied))
    small = primary(**{f"p{number}": "x" for number in range(150)})
    assert [len(batch) for batch in batches(changes(small, []))] == [64, 64, 22]
