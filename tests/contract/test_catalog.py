"""``/v1/catalog``."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest

from tests.contract.api import Api

PROXY = {
    "Kind": "connect-proxy",
    "Proxy": {
        "DestinationServiceName": "app",
        "LocalServicePort": 8080,
        "Config": {"a": 1},
        "Upstreams": [{"DestinationName": "x", "LocalBindPort": 99}],
    },
}


async def test_an_instance_is_listed_with_its_node(consul_api: Api) -> None:
    node, name = consul_api.unique("node"), consul_api.unique("svc")
    body = {
        "Node": node,
        "Address": "10.1.2.3",
        "NodeMeta": {"rack": "a"},
        "TaggedAddresses": {"lan": "10.1.2.3"},
        "Service": {
            "ID": f"{name}-1",
            "Service": name,
            "Port": 80,
            "Address": "10.9.9.9",
            "Tags": ["t"],
            "Meta": {"m": "1"},
            "Weights": {"Passing": 5, "Warning": 2},
        },
    }
    assert (await consul_api.put("/v1/catalog/register", body)).json is True
    (found,) = (await consul_api.get(f"/v1/catalog/service/{name}")).json
    del found["CreateIndex"], found["ModifyIndex"]
    assert found == {
        "ID": "",
        "Node": node,
        "Address": "10.1.2.3",
        "Datacenter": "dc1",
        "TaggedAddresses": {"lan": "10.1.2.3"},
        "NodeMeta": {"rack": "a"},
        "ServiceKind": "",
        "ServiceID": f"{name}-1",
        "ServiceName": name,
        "ServiceTags": ["t"],
        "ServiceAddress": "10.9.9.9",
        "ServiceWeights": {"Passing": 5, "Warning": 2},
        "ServiceMeta": {"m": "1"},
        "ServicePort": 80,
        "ServiceEnableTagOverride": False,
        "ServiceProxy": {"MeshGateway": {}, "Expose": {}},
        "ServiceConnect": {},
    }


async def test_a_proxy_stands_under_the_service_it_is_for(consul_api: Api) -> None:
    node, name = consul_api.unique("node"), consul_api.unique("svc")
    proxy = {**PROXY, "Proxy": {**PROXY["Proxy"], "DestinationServiceName": name}}  # type: ignore[dict-item]  # a literal's value type is too wide for **
    await consul_api.register(node, f"{name}-sidecar-proxy", **proxy)

    (found,) = (await consul_api.get(f"/v1/catalog/connect/{name}")).json

    assert found["ServiceKind"] == "connect-proxy"
    assert found["ServiceName"] == f"{name}-sidecar-proxy"
    assert found["ServiceProxy"] == {
        "DestinationServiceName": name,
        "LocalServicePort": 8080,
        "Config": {"a": 1},
        "Upstreams": [
            {
                "DestinationType": "",
                "DestinationName": "x",
                "Datacenter": "",
                "LocalBindPort": 99,
                "Config": None,
                "MeshGateway": {},
            }
        ],
        "MeshGateway": {},
        "Expose": {},
    }
    assert (await consul_api.get(f"/v1/catalog/service/{name}")).json == []


async def test_a_native_service_stands_under_its_own_name(consul_api: Api) -> None:
    name = consul_api.unique("svc")
    await consul_api.register(consul_api.unique("node"), name, Connect={"Native": True})
    (found,) = (await consul_api.get(f"/v1/catalog/connect/{name}")).json
    assert found["ServiceConnect"] == {"Native": True}


async def test_services_are_listed_with_all_their_tags(consul_api: Api) -> None:
    name = consul_api.unique("svc")
    await consul_api.register(consul_api.unique("node"), name, Tags=["a"])
    await consul_api.register(consul_api.unique("node"), name, Tags=["b"])
    assert sorted((await consul_api.get("/v1/catalog/services")).json[name]) == ["a", "b"]


async def test_instances_can_be_asked_for_by_tag_and_node_meta(consul_api: Api) -> None:
    node, name = consul_api.unique("node"), consul_api.unique("svc")
    await consul_api.register(node, name, Tags=["a"])
    await consul_api.put(
        "/v1/catalog/register", {"Node": node, "Address": "10.0.0.1", "NodeMeta": {"k": node}}
    )
    path = f"/v1/catalog/service/{name}"
    assert len((await consul_api.get(path, tag="a")).json) == 1
    assert (await consul_api.get(path, tag="b")).json == []
    assert len((await consul_api.get(path, node_meta=f"k:{node}")).json) == 1
    assert (await consul_api.get(path, node_meta="k:other")).json == []
    (listed,) = (await consul_api.get("/v1/catalog/nodes", node_meta=f"k:{node}")).json
    assert listed["Node"] == node


async def test_a_node_shows_its_services(consul_api: Api) -> None:
    node, name = consul_api.unique("node"), consul_api.unique("svc")
    await consul_api.register(node, name)
    found = (await consul_api.get(f"/v1/catalog/node/{node}")).json
    assert found["Node"]["Node"] == node
    assert set(found["Services"]) == {name}
    assert (await consul_api.get("/v1/catalog/node/nowhere")).json is None


async def test_registering_without_node_meta_wipes_it_unless_skipped(consul_api: Api) -> None:
    node = consul_api.unique("node")
    base = {"Node": node, "Address": "10.0.0.1"}

    async def meta() -> Any:
        return (await consul_api.get(f"/v1/catalog/node/{node}")).json["Node"]["Meta"]

    await consul_api.put("/v1/catalog/register", {**base, "NodeMeta": {"a": "b"}})
    await consul_api.put("/v1/catalog/register", {**base, "SkipNodeUpdate": True})
    assert await meta() == {"a": "b"}
    await consul_api.put("/v1/catalog/register", base)
    assert await meta() is None


async def test_deregistering_takes_the_service_its_checks_or_the_whole_node(
    consul_api: Api,
) -> None:
    node, first, second = (consul_api.unique(stem) for stem in ("node", "svc", "svc"))
    await consul_api.register(node, first)
    await consul_api.register(node, second)

    body: dict[str, str] = {"Node": node, "ServiceID": first}
    for _ in range(2):
        assert (await consul_api.put("/v1/catalog/deregister", body)).json is True
    checks = (await consul_api.get(f"/v1/health/node/{node}")).json
    assert [check["ServiceID"] for check in checks] == [second]

    await consul_api.put("/v1/catalog/deregister", {"Node": node, "CheckID": f"{second}-check"})
    assert (await consul_api.get(f"/v1/health/node/{node}")).json == []

    await consul_api.put("/v1/catalog/deregister", {"Node": node})
    assert (await consul_api.get(f"/v1/health/service/{second}")).json == []
    assert (await consul_api.get(f"/v1/catalog/node/{node}")).json is None


async def test_the_datacenter_is_listed(consul_api: Api) -> None:
    assert (await consul_api.get("/v1/catalog/datacenters")).json == ["dc1"]
    assert (await consul_api.get("/v1/catalog/nodes", dc="dc1")).status == 200


async def test_a_node_id_under_a_new_name_renames_the_node(consul_api: Api) -> None:
    first, second = consul_api.unique("node"), consul_api.unique("node")
    body = {"Address": "10.0.0.1", "ID": f"40e4a748-2192-161a-0510-9bf5{first[-8:]}"}
    await consul_api.done(consul_api.put("/v1/catalog/register", {**body, "Node": first}))
    await consul_api.done(consul_api.put("/v1/catalog/register", {**body, "Node": second}))
    names = {node["Node"] for node in (await consul_api.get("/v1/catalog/nodes")).json}
    assert second in names
    assert first not in names


async def test_waking(consul_api: Api) -> None:
    node, name, other = (consul_api.unique(stem) for stem in ("node", "svc", "svc"))
    await consul_api.register(node, name)
    await consul_api.register(consul_api.unique("node"), other)
    add = partial(consul_api.register, consul_api.unique("node"), name)
    assert await consul_api.wakes(f"/v1/catalog/service/{name}", add)
    move = partial(consul_api.register, node, name, Port=81)
    assert await consul_api.wakes("/v1/catalog/services", move)
    again = partial(consul_api.register, node, name, Port=81)
    assert not await consul_api.wakes("/v1/catalog/services", again)
    assert not await consul_api.wakes(f"/v1/catalog/service/{name}", again)
    elsewhere = partial(consul_api.register, node, name, Port=82)
    assert not await consul_api.wakes(f"/v1/catalog/service/{other}", elsewhere)
    fails = partial(consul_api.check, node, name, "critical")
    assert not await consul_api.wakes("/v1/catalog/services", fails)
    away = partial(consul_api.put, "/v1/catalog/deregister", {"Node": node})
    assert await consul_api.wakes("/v1/catalog/nodes", away)


@pytest.mark.parametrize(
    ("path", "body", "status", "text"),
    [
        ("register", {"Node": "x"}, 500, "Must provide address if SkipNodeUpdate is not set"),
        ("register", {"Address": "x"}, 500, "Must provide node"),
        ("register", {"Node": "x", "Address": "x", "ID": "odd"}, 500, "Bad node ID: "),
        (
            "register",
            {"Node": "x", "Address": "x", "Service": {"ID": "x"}},
            500,
            "Must provide service name with ID",
        ),
        (
            "register",
            {"Node": "x", "Address": "x", "Check": {"Name": "c", "ServiceID": "none"}},
            500,
            'failed inserting check: Missing service registration on node "x"',
        ),
        ("register", {"Node": "x", "Address": "x", "Datacenter": "no"}, 500, "No path to datacen"),
        ("register", b"odd", 400, "Request decode failed: "),
        ("deregister", {}, 500, "Must provide node"),
    ],
)
async def test_refusals(consul_api: Api, path: str, body: Any, status: int, text: str) -> None:
    reply = await consul_api.put(f"/v1/catalog/{path}", body)
    assert reply.status == status
    assert reply.text.startswith(text)


@pytest.mark.parametrize(
    ("query", "status", "text"),
    [
        ({"dc": "no"}, 500, "No path to datacenter"),
        ({"index": "odd"}, 400, "Invalid index"),
        ({"index": "1", "wait": "odd"}, 400, "Invalid wait time"),
        ({"stale": "", "consistent": ""}, 400, "Cannot specify ?stale with ?consistent"),
        ({"cached": "", "consistent": ""}, 400, "Cannot specify ?cached with ?consistent"),
    ],
)
async def test_bad_options(consul_api: Api, query: dict[str, str], status: int, text: str) -> None:
    reply = await consul_api.get("/v1/catalog/nodes", **query)
    assert reply.status == status
    assert reply.text.startswith(text)
