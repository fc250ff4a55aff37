"""``/v1/kv``."""

from __future__ import annotations

import base64
from functools import partial

import pytest

from tests.contract.api import Api


async def test_a_value_comes_back_with_its_flags_and_indexes(consul_api: Api) -> None:
    key = consul_api.unique("kv")
    await consul_api.done(consul_api.put(f"/v1/kv/{key}", b"hello", flags=42))

    reply = await consul_api.get(f"/v1/kv/{key}")

    (pair,) = reply.json
    assert base64.b64decode(pair["Value"]) == b"hello"
    assert pair == {
        "LockIndex": 0,
        "Key": key,
        "Flags": 42,
        "Value": "aGVsbG8=",
        "CreateIndex": reply.index,
        "ModifyIndex": reply.index,
    }
    assert reply.headers["X-Consul-KnownLeader".title()] == "true"
    assert reply.headers["X-Consul-LastContact".title()] == "0"


async def test_raw_is_the_value_itself(consul_api: Api) -> None:
    key = consul_api.unique("kv")
    await consul_api.put(f"/v1/kv/{key}", b"hello")
    assert (await consul_api.get(f"/v1/kv/{key}", raw="")).text == "hello"


async def test_an_empty_value_is_null(consul_api: Api) -> None:
    key = consul_api.unique("kv")
    await consul_api.put(f"/v1/kv/{key}", b"")
    assert (await consul_api.get(f"/v1/kv/{key}")).json[0]["Value"] is None


async def test_what_is_not_there_is_404_with_an_index(consul_api: Api) -> None:
    for query in ({}, {"recurse": ""}, {"keys": ""}):
        reply = (
            await consul_api.get("/v1/kv/nowhere/", **query)
            if query
            else (await consul_api.get("/v1/kv/nowhere"))
        )
        assert (reply.status, reply.text) == (404, "")
        assert reply.index > 0


async def test_recurse_and_keys_list_below_a_prefix(consul_api: Api) -> None:
    root = consul_api.unique("kv")
    for name in ("b/2", "a", "b/1"):
        await consul_api.put(f"/v1/kv/{root}/{name}", b"x")

    listed = await consul_api.get(f"/v1/kv/{root}/", recurse="")
    names = await consul_api.get(f"/v1/kv/{root}/", keys="")
    folded = await consul_api.get(f"/v1/kv/{root}/", keys="", separator="/")

    expected = [f"{root}/a", f"{root}/b/1", f"{root}/b/2"]
    assert [pair["Key"] for pair in listed.json] == expected
    assert names.json == expected
    assert folded.json == [f"{root}/a", f"{root}/b/"]


async def test_cas_zero_creates_only(consul_api: Api) -> None:
    path = f"/v1/kv/{consul_api.unique('kv')}"
    assert (await consul_api.put(path, b"1", cas=0)).json is True
    assert (await consul_api.put(path, b"2", cas=0)).json is False
    assert (await consul_api.get(path, raw="")).text == "1"


async def test_cas_writes_only_on_the_index_read(consul_api: Api) -> None:
    path = f"/v1/kv/{consul_api.unique('kv')}"
    await consul_api.put(path, b"1")
    index = (await consul_api.get(path)).json[0]["ModifyIndex"]
    assert (await consul_api.put(path, b"2", cas=index)).json is True
    assert (await consul_api.put(path, b"3", cas=index)).json is False
    assert (await consul_api.put(f"{path}-none", b"3", cas=index)).json is False


async def test_delete_with_cas(consul_api: Api) -> None:
    path = f"/v1/kv/{consul_api.unique('kv')}"
    await consul_api.put(path, b"1")
    index = (await consul_api.get(path)).json[0]["ModifyIndex"]
    assert (await consul_api.delete(path, cas=1)).json is False
    assert (await consul_api.delete(path, cas=0)).json is False
    assert (await consul_api.delete(path, cas=index)).json is True
    assert (await consul_api.get(path)).status == 404


async def test_deleting_is_idempotent_and_recursive(consul_api: Api) -> None:
    root = consul_api.unique("kv")
    for name in ("a", "b"):
        await consul_api.put(f"/v1/kv/{root}/{name}", b"x")
    assert (await consul_api.delete(f"/v1/kv/{root}", recurse="")).json is True
    assert (await consul_api.get(f"/v1/kv/{root}", recurse="")).status == 404
    assert (await consul_api.delete(f"/v1/kv/{root}/a")).json is True


async def test_a_write_wakes_the_key_and_its_prefixes_only(consul_api: Api) -> None:
    root = consul_api.unique("kv")
    await consul_api.put(f"/v1/kv/{root}/a", b"0")
    await consul_api.put(f"/v1/kv/{root}/b", b"0")
    paths = {f"/v1/kv/{root}/a": True, f"/v1/kv/{root}/?recurse": True, f"/v1/kv/{root}/b": False}
    for number, (path, expected) in enumerate(paths.items()):
        change = partial(consul_api.put, f"/v1/kv/{root}/a", str(number).encode() * 2)
        assert await consul_api.wakes(path, change) is expected, path


async def test_a_deletion_wakes_the_prefix(consul_api: Api) -> None:
    root = consul_api.unique("kv")
    await consul_api.put(f"/v1/kv/{root}/a", b"0")
    await consul_api.put(f"/v1/kv/{root}/b", b"0")
    change = partial(consul_api.delete, f"/v1/kv/{root}/a")
    assert await consul_api.wakes(f"/v1/kv/{root}/?recurse", change)


async def test_a_key_that_does_not_exist_yet_can_be_awaited(consul_api: Api) -> None:
    path = f"/v1/kv/{consul_api.unique('kv')}"
    await consul_api.put(f"/v1/kv/{consul_api.unique('other')}", b"so that the table has an index")
    assert await consul_api.wakes(path, partial(consul_api.put, path, b"now"))


async def test_the_same_value_again_wakes_nobody(consul_api: Api) -> None:
    path = f"/v1/kv/{consul_api.unique('kv')}"
    await consul_api.put(path, b"same", flags=1)
    assert not await consul_api.wakes(path, partial(consul_api.put, path, b"same", flags=1))


@pytest.mark.parametrize(
    ("request_line", "query", "status", "text"),
    [
        ("PUT /v1/kv/x", {"cas": "no"}, 500, 'strconv.ParseUint: parsing "no": invalid syntax'),
        ("PUT /v1/kv/x", {"flags": "-1"}, 500, 'strconv.ParseUint: parsing "-1": invalid syn'),
        ("PUT /v1/kv/", {}, 400, "Missing key name"),
        ("DELETE /v1/kv/", {}, 400, "Missing key name"),
        ("GET /v1/kv/", {}, 400, "Missing key name"),
        ("PUT /v1/kv/x", {"acquire": ""}, 500, "missing session"),
        ("PUT /v1/kv/x", {"acquire": "no"}, 500, "failed session lookup: index error: UUID m"),
        ("PUT /v1/kv/x", {"acquire": "a", "cas": 0}, 400, "Conflicting flags: acquire=a&cas=0"),
        ("POST /v1/kv/x", {}, 405, "method POST not allowed"),
    ],
)
async def test_refusals(
    consul_api: Api, request_line: str, query: dict[str, str], status: int, text: str
) -> None:
    method, path = request_line.split()
    reply = await consul_api.ask(method, path, b"" if method != "GET" else None, **query)
    assert reply.status == status
    assert reply.text.startswith(text)
