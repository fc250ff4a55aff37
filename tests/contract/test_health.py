"""``/v1/health`` and what wakes its queries."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from functools import partial

import pytest

from tests.contract.api import Api
from tests.contract.servers import EMBEDDED, REAL

Names = tuple[str, str]


@pytest.fixture
async def instance(consul_api: Api) -> Names:
    node, name = consul_api.unique("node"), consul_api.unique("svc")
    await consul_api.register(node, name)
    return node, name


async def test_an_instance_comes_with_node_and_checks(consul_api: Api, instance: Names) -> None:
    node, name = instance
    await consul_api.put(
        "/v1/catalog/register",
        {
            "Node": node,
            "Address": "10.0.0.1",
            "Check": {"CheckID": "disk", "Name": "disk", "Status": "warning", "Notes": "n"},
        },
    )
    (found,) = (await consul_api.get(f"/v1/health/service/{name}")).json
    assert set(found) == {"Node", "Service", "Checks"}
    assert found["Node"]["Node"] == node
    assert found["Service"]["ID"] == name
    assert [check["CheckID"] for check in found["Checks"]] == ["disk", f"{name}-check"]
    check = dict(found["Checks"][0])
    del check["CreateIndex"], check["ModifyIndex"]
    assert check == {
        "Node": node,
        "CheckID": "disk",
        "Name": "disk",
        "Status": "warning",
        "Notes": "n",
        "Output": "",
        "ServiceID": "",
        "ServiceName": "",
        "ServiceTags": [],
        "Type": "",
        "Definition": {},
    }


@pytest.mark.parametrize(("status", "shown"), [("passing", 1), ("warning", 0), ("critical", 0)])
async def test_passing_leaves_out_what_has_any_other_check(
    consul_api: Api, instance: Names, status: str, shown: int
) -> None:
    node, name = instance
    await consul_api.check(node, name, status)
    path = f"/v1/health/service/{name}"
    assert len((await consul_api.get(path, passing="")).json) == shown
    assert len((await consul_api.get(path, passing="true")).json) == shown
    assert len((await consul_api.get(path)).json) == 1


async def test_a_node_check_counts_for_its_services(consul_api: Api, instance: Names) -> None:
    node, name = instance
    check = {"CheckID": "disk", "Name": "disk", "Status": "critical"}
    body = {"Node": node, "Address": "10.0.0.1", "Check": check}
    await consul_api.put("/v1/catalog/register", body)
    assert (await consul_api.get(f"/v1/health/service/{name}", passing="")).json == []


async def test_connect_lists_the_proxies_of_a_service(consul_api: Api) -> None:
    node, name = consul_api.unique("node"), consul_api.unique("svc")
    await consul_api.register(
        node,
        f"{name}-sidecar-proxy",
        Kind="connect-proxy",
        Proxy={"DestinationServiceName": name},
    )
    await consul_api.register(node, name)
    (found,) = (await consul_api.get(f"/v1/health/connect/{name}")).json
    assert found["Service"]["Kind"] == "connect-proxy"
    assert [check["ServiceID"] for check in found["Checks"]] == [f"{name}-sidecar-proxy"]
    await consul_api.check(node, f"{name}-sidecar-proxy", "critical")
    assert (await consul_api.get(f"/v1/health/connect/{name}", passing="")).json == []


async def test_checks_are_listed_by_service_node_and_state(
    consul_api: Api, instance: Names
) -> None:
    node, name = instance
    await consul_api.check(node, name, "warning", "hm")
    for path in (
        f"/v1/health/checks/{name}",
        f"/v1/health/node/{node}",
        "/v1/health/state/any",
        "/v1/health/state/warning",
    ):
        found = [c for c in (await consul_api.get(path)).json if c["ServiceName"] == name]
        assert [(check["Status"], check["Output"]) for check in found] == [("warning", "hm")]
    passing = (await consul_api.get("/v1/health/state/passing")).json
    assert all(check["ServiceName"] != name for check in passing)


async def test_what_nobody_registered_is_an_empty_list(consul_api: Api) -> None:
    for path in ("service", "connect", "checks", "node"):
        reply = await consul_api.get(f"/v1/health/{path}/nowhere")
        assert (reply.status, reply.json) == (200, [])
        assert reply.index > 0


Change = Callable[[Api, str, str], Callable[[], Awaitable[object]]]

CHANGES: dict[str, tuple[Change, bool, bool]] = {
    # change: (how, wakes health/service/that, wakes health/state/any)
    "same registration": (lambda api, n, s: partial(api.register, n, s), False, False),
    "same status": (lambda api, n, s: partial(api.check, n, s, "passing"), False, False),
    "new status": (lambda api, n, s: partial(api.check, n, s, "critical"), True, True),
    "new output": (lambda api, n, s: partial(api.check, n, s, "passing", "words"), True, True),
    "new port": (lambda api, n, s: partial(api.register, n, s, Port=81), True, False),
    "removal": (
        lambda api, n, s: partial(api.put, "/v1/catalog/deregister", {"Node": n, "ServiceID": s}),
        True,
        True,
    ),
    "node address": (
        lambda api, n, _: partial(
            api.put, "/v1/catalog/register", {"Node": n, "Address": "10.7.7.7"}
        ),
        True,
        False,
    ),
}


@pytest.mark.parametrize("name", CHANGES)
async def test_what_wakes_the_service(consul_api: Api, instance: Names, name: str) -> None:
    how, expected, _ = CHANGES[name]
    change = how(consul_api, *instance)
    assert await consul_api.wakes(f"/v1/health/service/{instance[1]}", change) is expected


@pytest.mark.parametrize("name", ["new status", "new output", "removal", "node address"])
async def test_what_wakes_the_state_of_all_checks(
    consul_api: Api, instance: Names, name: str
) -> None:
    how, _, expected = CHANGES[name]
    change = how(consul_api, *instance)
    assert await consul_api.wakes("/v1/health/state/any", change) is expected


@pytest.mark.parametrize(
    ("consul_api", "expected"),
    # The real one moves the index of all checks when a check is written again as it was.
    [(EMBEDDED, False), (REAL, True)],
    indirect=["consul_api"],
)
async def test_the_same_check_again(consul_api: Api, instance: Names, *, expected: bool) -> None:
    change = CHANGES["same status"][0](consul_api, *instance)
    assert await consul_api.wakes("/v1/health/state/any", change) is expected


@pytest.mark.parametrize("name", ["new status", "new port", "removal"])
async def test_nothing_wakes_another_service(consul_api: Api, instance: Names, name: str) -> None:
    other = consul_api.unique("svc")
    await consul_api.register(consul_api.unique("node"), other)
    change = CHANGES[name][0](consul_api, *instance)
    assert not await consul_api.wakes(f"/v1/health/service/{other}", change)


async def test_a_proxys_health_wakes_connect(consul_api: Api) -> None:
    node, name = consul_api.unique("node"), consul_api.unique("svc")
    proxy = f"{name}-sidecar-proxy"
    more = {"Kind": "connect-proxy", "Proxy": {"DestinationServiceName": name}}
    path = f"/v1/health/connect/{name}"
    appears = partial(consul_api.register, node, proxy, **more)
    assert await consul_api.wakes(path, appears)
    assert await consul_api.wakes(path, partial(consul_api.check, node, proxy, "warning"))
    body = {"Node": node, "ServiceID": proxy}
    assert await consul_api.wakes(path, partial(consul_api.put, "/v1/catalog/deregister", body))


async def test_a_quiet_query_ends_after_its_wait(consul_api: Api, instance: Names) -> None:
    path = f"/v1/health/service/{instance[1]}"
    index = (await consul_api.get(path)).index
    started = time.monotonic()
    reply = await consul_api.get(path, index=index, wait="200ms")
    assert 0.2 <= time.monotonic() - started < 5
    assert reply.index == index


async def test_an_old_index_is_answered_at_once(consul_api: Api, instance: Names) -> None:
    reply = await consul_api.get(f"/v1/health/service/{instance[1]}", index=1, wait="60s")
    assert reply.index > 1
