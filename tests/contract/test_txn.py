"""``/v1/txn``."""

from __future__ import annotations

import base64
from typing import Any

import pytest

from tests.contract.api import Api


def kv(verb: str, key: str, value: str = "", **more: Any) -> dict[str, Any]:
    encoded = base64.b64encode(value.encode()).decode()
    return {"KV": {"Verb": verb, "Key": key, "Value": encoded, **more}}


async def test_all_operations_happen_and_show_what_they_did(consul_api: Api) -> None:
    key = consul_api.unique("txn")
    reply = await consul_api.put("/v1/txn", [kv("set", key, "1", Flags=3), kv("get", key)])
    assert reply.status == 200
    assert reply.json["Errors"] is None
    written, read = (result["KV"] for result in reply.json["Results"])
    assert (written["Key"], written["Flags"], written["Value"]) == (key, 3, None)
    assert read["Value"] == "MQ=="
    assert written["ModifyIndex"] == read["ModifyIndex"]


async def test_one_failure_undoes_all(consul_api: Api) -> None:
    key = consul_api.unique("txn")
    await consul_api.put(f"/v1/kv/{key}", b"old")
    operations = [kv("set", key, "new"), kv("set", f"{key}2", "x"), kv("cas", key, "y", Index=1)]

    reply = await consul_api.put("/v1/txn", operations)

    assert reply.status == 409
    assert reply.json["Results"] is None
    (error,) = reply.json["Errors"]
    assert error == {"OpIndex": 2, "What": f'failed to set key "{key}", index is stale'}
    assert (await consul_api.get(f"/v1/kv/{key}", raw="")).text == "old"
    assert (await consul_api.get(f"/v1/kv/{key}2")).status == 404


async def test_every_failure_is_named(consul_api: Api) -> None:
    key = consul_api.unique("txn")
    await consul_api.put(f"/v1/kv/{key}", b"x")
    reply = await consul_api.put(
        "/v1/txn",
        [
            kv("get", f"{key}-none"),
            kv("check-index", f"{key}-none", Index=3),
            kv("check-session", f"{key}-none", Session="s"),
            kv("check-not-exists", key),
            kv("unlock", key, Session="s"),
            kv("delete-cas", key, Index=1),
        ],
    )
    assert [error["OpIndex"] for error in reply.json["Errors"]] == [0, 1, 2, 3, 4, 5]
    assert [error["What"] for error in reply.json["Errors"]] == [
        f'key "{key}-none" doesn\'t exist',
        f'failed to check index, key "{key}-none" doesn\'t exist',
        f'failed to check session, key "{key}-none" doesn\'t exist',
        f'key "{key}" exists',
        f'failed to unlock key "{key}", lock isn\'t held, or is held by another session',
        f'failed to delete key "{key}", index is stale',
    ]


async def test_trees_can_be_read_and_deleted(consul_api: Api) -> None:
    root = consul_api.unique("txn")
    await consul_api.put("/v1/txn", [kv("set", f"{root}/{n}", "x") for n in "ab"])
    reply = await consul_api.put("/v1/txn", [kv("get-tree", root), kv("delete-tree", root)])
    assert [each["KV"]["Key"] for each in reply.json["Results"]] == [f"{root}/a", f"{root}/b"]
    assert (await consul_api.get(f"/v1/kv/{root}", recurse="")).status == 404


async def test_a_session_locks_and_unlocks(consul_api: Api) -> None:
    key = consul_api.unique("txn")
    session = (await consul_api.put("/v1/session/create", {})).json["ID"]
    locked = await consul_api.put("/v1/txn", [kv("lock", key, "1", Session=session)])
    assert locked.json["Results"][0]["KV"]["Session"] == session
    assert (
        await consul_api.put("/v1/txn", [kv("check-session", key, Session=session)])
    ).status == 200
    unlocked = await consul_api.put("/v1/txn", [kv("unlock", key, "2", Session=session)])
    assert "Session" not in unlocked.json["Results"][0]["KV"]


def instance(node: str, service: str) -> list[dict[str, Any]]:
    check = {
        "Node": node,
        "CheckID": "c",
        "Name": "c",
        "Status": "passing",
        "ServiceID": service,
    }
    return [
        {"Node": {"Verb": "set", "Node": {"Node": node, "Address": "10.0.0.9"}}},
        {
            "Service": {
                "Verb": "set",
                "Node": node,
                "Service": {"ID": service, "Service": service, "Port": 9},
            }
        },
        {"Check": {"Verb": "set", "Check": check}},
    ]


async def test_an_instance_is_registered_at_once(consul_api: Api) -> None:
    node, service = consul_api.unique("node"), consul_api.unique("svc")
    reply = await consul_api.put("/v1/txn", instance(node, service))
    assert [list(each) for each in reply.json["Results"]] == [["Node"], ["Service"], ["Check"]]
    (found,) = (await consul_api.get(f"/v1/health/service/{service}")).json
    assert found["Checks"][0]["ServiceName"] == service


async def test_catalog_entries_can_be_read_compared_and_deleted(consul_api: Api) -> None:
    node, service = consul_api.unique("node"), consul_api.unique("svc")
    made = await consul_api.put("/v1/txn", instance(node, service))
    index = made.json["Results"][1]["Service"]["ModifyIndex"]
    body = {"ID": service, "Service": service, "Port": 10}

    def write(verb: str, at: int) -> list[dict[str, Any]]:
        return [{"Service": {"Verb": verb, "Node": node, "Service": {**body, "ModifyIndex": at}}}]

    stale = await consul_api.put("/v1/txn", write("cas", 1))
    assert stale.status == 409
    fresh = await consul_api.put("/v1/txn", write("cas", index))
    assert fresh.json["Results"][0]["Service"]["Port"] == 10
    assert (await consul_api.put("/v1/txn", write("get", 0))).status == 200
    assert (await consul_api.put("/v1/txn", write("delete", 0))).status == 200
    assert (await consul_api.put("/v1/txn", write("get", 0))).status == 409
    delete = [{"Node": {"Verb": "delete", "Node": {"Node": node}}}]
    assert (await consul_api.put("/v1/txn", delete)).status == 200
    assert (await consul_api.get(f"/v1/catalog/node/{node}")).json is None


async def test_what_is_missing_is_named(consul_api: Api) -> None:
    node = consul_api.unique("node")
    service = {"Node": node, "Service": {"ID": "s", "Service": "s"}}
    reply = await consul_api.put(
        "/v1/txn",
        [
            {"Node": {"Verb": "get", "Node": {"Node": node}}},
            {"Service": {"Verb": "get", **service}},
            {"Check": {"Verb": "get", "Check": {"Node": node, "CheckID": "c"}}},
            {"Service": {"Verb": "set", **service}},
        ],
    )
    assert [error["What"] for error in reply.json["Errors"]] == [
        f'node "{node}" doesn\'t exist',
        f'service "s" on node "{node}" doesn\'t exist',
        f'check "c" on node "{node}" doesn\'t exist',
        "Missing node registration",
    ]


async def test_an_empty_transaction_is_a_read(consul_api: Api) -> None:
    assert (await consul_api.put("/v1/txn", [])).json == {
        "Results": [],
        "Errors": None,
        "Index": 0,
        "LastContact": 0,
        "KnownLeader": True,
        "ConsistencyLevel": "",
    }


@pytest.mark.parametrize(("count", "status"), [(64, 200), (65, 413)])
async def test_there_are_at_most_64(consul_api: Api, count: int, status: int) -> None:
    root = consul_api.unique("txn")
    operations = [kv("set", f"{root}/{number}", "x") for number in range(count)]
    reply = await consul_api.put("/v1/txn", operations)
    assert reply.status == status
    if status == 413:
        assert reply.text == "Transaction contains too many operations (65 > 64)"


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"odd", 400),
        ([{"KV": {"Verb": "set", "Key": "x", "Value": "!"}}], 400),
        ([{"KV": {"Verb": "odd", "Key": "x", "Value": ""}}], 409),
    ],
)
async def test_refusals(consul_api: Api, body: Any, status: int) -> None:
    assert (await consul_api.put("/v1/txn", body)).status == status
