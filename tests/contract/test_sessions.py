"""``/v1/session`` and the locks that sessions hold."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest

from tests.contract.api import Api

NOBODY = "40e4a748-2192-161a-0510-9bf59fe950b5"


async def create(api: Api, **body: Any) -> str:
    reply = await api.done(api.put("/v1/session/create", body))
    return str(reply.json["ID"])


async def test_a_session_has_the_defaults_of_consul(consul_api: Api) -> None:
    session = await create(consul_api)
    reply = await consul_api.get(f"/v1/session/info/{session}")
    (found,) = reply.json
    del found["CreateIndex"], found["ModifyIndex"]
    assert found == {
        "ID": session,
        "Name": "",
        "Node": consul_api.node,
        "LockDelay": 15_000_000_000,
        "Behavior": "release",
        "TTL": "",
        "NodeChecks": ["serfHealth"],
        "ServiceChecks": None,
    }


async def test_it_is_listed_alone_and_by_node(consul_api: Api) -> None:
    session = await create(consul_api, Name="s", TTL="20s", LockDelay="3s", Behavior="delete")
    for path in ("/v1/session/list", f"/v1/session/node/{consul_api.node}"):
        found = {each["ID"]: each for each in (await consul_api.get(path)).json}
        assert found[session]["TTL"] == "20s"
        assert found[session]["LockDelay"] == 3_000_000_000
        assert found[session]["Behavior"] == "delete"
    assert (await consul_api.get("/v1/session/node/nowhere")).json == []
    assert (await consul_api.get(f"/v1/session/info/{NOBODY}")).json == []


async def test_destroying_is_idempotent(consul_api: Api) -> None:
    session = await create(consul_api)
    for _ in range(2):
        assert (await consul_api.put(f"/v1/session/destroy/{session}")).json is True
    assert (await consul_api.get(f"/v1/session/info/{session}")).json == []


async def test_renewing_answers_the_session_or_404(consul_api: Api) -> None:
    session = await create(consul_api, TTL="20s")
    assert (await consul_api.put(f"/v1/session/renew/{session}")).json[0]["ID"] == session
    reply = await consul_api.put(f"/v1/session/renew/{NOBODY}")
    assert (reply.status, reply.text) == (404, f"Session id '{NOBODY}' not found")


async def test_one_session_holds_a_key(consul_api: Api) -> None:
    path = f"/v1/kv/{consul_api.unique('lock')}"
    first, second = await create(consul_api), await create(consul_api)

    assert (await consul_api.put(path, b"1", acquire=first)).json is True
    assert (await consul_api.put(path, b"2", acquire=second)).json is False
    assert (await consul_api.put(path, b"3", acquire=first)).json is True
    pair = (await consul_api.get(path)).json[0]
    assert (pair["Session"], pair["LockIndex"], pair["Value"]) == (first, 1, "Mw==")

    assert (await consul_api.put(path, b"4", release=second)).json is False
    assert (await consul_api.put(path, b"5", release=first)).json is True
    pair = (await consul_api.get(path)).json[0]
    assert ("Session" in pair, pair["LockIndex"], pair["Value"]) == (False, 1, "NQ==")

    assert (await consul_api.put(path, b"6", acquire=second)).json is True
    assert (await consul_api.get(path)).json[0]["LockIndex"] == 2


async def test_a_plain_put_leaves_the_holder(consul_api: Api) -> None:
    path = f"/v1/kv/{consul_api.unique('lock')}"
    session = await create(consul_api)
    await consul_api.put(path, b"1", acquire=session)
    await consul_api.put(path, b"2")
    assert (await consul_api.get(path)).json[0]["Session"] == session


async def test_an_unknown_session_cannot_lock(consul_api: Api) -> None:
    reply = await consul_api.put("/v1/kv/x", b"", acquire=NOBODY)
    assert (reply.status, reply.text) == (500, f'invalid session "{NOBODY}"')


@pytest.mark.parametrize(("behavior", "status"), [("release", 200), ("delete", 404)])
async def test_the_end_of_a_session_frees_its_keys(
    consul_api: Api, behavior: str, status: int
) -> None:
    path = f"/v1/kv/{consul_api.unique('lock')}"
    session = await create(consul_api, Behavior=behavior, LockDelay="0s")
    await consul_api.put(path, b"1", acquire=session)

    woken = await consul_api.wakes(path, partial(consul_api.put, f"/v1/session/destroy/{session}"))

    assert woken
    reply = await consul_api.get(path)
    assert reply.status == status
    assert status == 404 or "Session" not in reply.json[0]


@pytest.mark.parametrize(("delay", "locked"), [("30s", False), ("0s", True)])
async def test_the_lock_delay_holds_others_off_after_the_end(
    consul_api: Api, delay: str, *, locked: bool
) -> None:
    path = f"/v1/kv/{consul_api.unique('lock')}"
    first = await create(consul_api, LockDelay=delay)
    second = await create(consul_api)
    await consul_api.put(path, b"1", acquire=first)
    await consul_api.put(f"/v1/session/destroy/{first}")
    assert (await consul_api.put(path, b"2", acquire=second)).json is locked


async def test_a_session_that_is_not_renewed_runs_out(consul_api: Api) -> None:
    path = f"/v1/kv/{consul_api.unique('lock')}"
    session = await create(consul_api, TTL="500ms", Behavior="delete")
    await consul_api.put(path, b"1", acquire=session)

    async def gone() -> bool:
        return (await consul_api.get(path)).status == 404

    await consul_api.eventually(gone)
    assert (await consul_api.get(f"/v1/session/info/{session}")).json == []


async def test_a_session_ends_with_a_check_it_rests_on(consul_api: Api) -> None:
    node = consul_api.unique("node")
    await consul_api.register(node, "svc")
    session = await create(consul_api, Node=node, NodeChecks=["svc-check"])
    await consul_api.check(node, "svc", "critical")
    assert (await consul_api.get(f"/v1/session/info/{session}")).json == []


async def test_a_session_ends_with_its_node(consul_api: Api) -> None:
    node = consul_api.unique("node")
    await consul_api.register(node, "svc")
    session = await create(consul_api, Node=node, NodeChecks=[])
    await consul_api.put("/v1/catalog/deregister", {"Node": node})
    assert (await consul_api.get(f"/v1/session/info/{session}")).json == []


@pytest.mark.parametrize(
    ("body", "status", "text"),
    [
        ({"Behavior": "odd"}, 500, "Invalid Behavior setting 'odd'"),
        ({"TTL": "1ms"}, 500, "Invalid Session TTL '1000000', must be between ["),
        ({"TTL": "odd"}, 500, "Session TTL 'odd' invalid: time: invalid duration"),
        ({"Node": "nowhere"}, 500, "Missing node registration"),
        ({"Checks": ["none"]}, 500, "Missing check 'none' registration"),
        (b"odd", 400, "Request decode failed: "),
    ],
)
async def test_refusals(consul_api: Api, body: Any, status: int, text: str) -> None:
    reply = await consul_api.put("/v1/session/create", body)
    assert reply.status == status
    assert reply.text.startswith(text)
