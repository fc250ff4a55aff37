"""``/v1/config``."""

from __future__ import annotations

from collections.abc import AsyncIterator
from functools import partial
from typing import Any

import pytest

from tests.contract.api import Api
from tests.contract.servers import EMBEDDED, REAL

BAD = "Bad request: Request decoding failed: "


@pytest.fixture(autouse=True)
async def clean(consul_api: Api) -> AsyncIterator[None]:
    yield
    # Entries rest on one another: take them away from the top.
    for kind in ("ingress-gateway", "service-router", "service-splitter", "service-resolver"):
        for entry in (await consul_api.get(f"/v1/config/{kind}")).json:
            await consul_api.done(consul_api.delete(f"/v1/config/{kind}/{entry['Name']}"))


async def defaults(api: Api, name: str, protocol: str = "http") -> None:
    body = {"Kind": "service-defaults", "Name": name, "Protocol": protocol}
    assert (await api.put("/v1/config", body)).json is True


async def test_an_entry_comes_back_canonical(consul_api: Api) -> None:
    name = consul_api.unique("svc")
    body = {"Kind": "service-defaults", "name": name, "protocol": "http"}
    assert (await consul_api.put("/v1/config", body)).json is True
    reply = await consul_api.get(f"/v1/config/service-defaults/{name}")
    assert reply.json == {
        "Kind": "service-defaults",
        "Name": name,
        "Protocol": "http",
        "MeshGateway": {},
        "Expose": {},
        "CreateIndex": reply.index,
        "ModifyIndex": reply.index,
    }


async def test_entries_are_listed_by_kind_and_all_together(consul_api: Api) -> None:
    name = consul_api.unique("svc")
    await defaults(consul_api, name)
    resolver = {"Kind": "service-resolver", "Name": name, "ConnectTimeout": "5s"}
    await consul_api.done(consul_api.put("/v1/config", resolver))
    listed = (await consul_api.get("/v1/config/service-defaults")).json
    assert name in {entry["Name"] for entry in listed}
    everything = (await consul_api.get("/v1/config/")).json
    found = {entry["Kind"] for entry in everything if entry["Name"] == name}
    assert found == {"service-defaults", "service-resolver"}


async def test_cas(consul_api: Api) -> None:
    name = consul_api.unique("svc")
    body = {"Kind": "service-defaults", "Name": name, "Protocol": "http"}
    assert (await consul_api.put("/v1/config", body, cas=0)).json is True
    assert (await consul_api.put("/v1/config", body, cas=0)).json is False
    index = (await consul_api.get(f"/v1/config/service-defaults/{name}")).json["ModifyIndex"]
    body["Protocol"] = "grpc"
    assert (await consul_api.put("/v1/config", body, cas=1)).json is False
    assert (await consul_api.put("/v1/config", body, cas=index)).json is True


async def test_deleting_is_idempotent(consul_api: Api) -> None:
    name = consul_api.unique("svc")
    await defaults(consul_api, name)
    for _ in range(2):
        reply = await consul_api.delete(f"/v1/config/service-defaults/{name}")
        assert (reply.status, reply.json) == (200, {})
    reply = await consul_api.get(f"/v1/config/service-defaults/{name}")
    expected = f'Config entry not found for "service-defaults" / "{name}"'
    assert (reply.status, reply.text) == (404, expected)


async def test_any_entry_wakes_every_kind(consul_api: Api) -> None:
    name = consul_api.unique("svc")
    await defaults(consul_api, name)
    for path in ("/v1/config/", "/v1/config/service-defaults", "/v1/config/service-resolver"):
        change = partial(defaults, consul_api, consul_api.unique("svc"))
        assert await consul_api.wakes(path, change), path


@pytest.mark.parametrize(
    "body",
    [
        {"Kind": "service-resolver", "Subsets": {"v1": {"Filter": "Service.Meta.v == 1"}}},
        {"Kind": "service-resolver", "Redirect": {"Service": "other"}},
        {"Kind": "service-resolver", "Failover": {"*": {"Datacenters": ["dc2"]}}},
        {"Kind": "terminating-gateway", "Services": [{"Name": "web"}]},
        {"Kind": "ingress-gateway", "Listeners": [{"Port": 1, "Services": [{"Name": "web"}]}]},
    ],
)
async def test_kinds(consul_api: Api, body: dict[str, Any]) -> None:
    name = consul_api.unique("entry")
    await consul_api.done(consul_api.put("/v1/config", {**body, "Name": name}))
    found = (await consul_api.get(f"/v1/config/{body['Kind']}/{name}")).json
    for key, value in body.items():
        if key not in {"Kind", "Listeners"}:
            assert found[key] == value
    await consul_api.delete(f"/v1/config/{body['Kind']}/{name}")


async def test_routers_and_splitters_need_http_all_along(consul_api: Api) -> None:
    web, api, tcp = (consul_api.unique(stem) for stem in ("web", "api", "tcp"))
    await defaults(consul_api, web)
    await defaults(consul_api, api)
    match = {"HTTP": {"PathPrefix": "/x"}}

    def router(name: str, target: str) -> dict[str, Any]:
        routes = [{"Match": match, "Destination": {"Service": target}}]
        return {"Kind": "service-router", "Name": name, "Routes": routes}

    refused = await consul_api.put("/v1/config", router(tcp, tcp))
    assert refused.status == 500
    assert 'uses a protocol "tcp" that does not permit advanced routing' in refused.text
    refused = await consul_api.put("/v1/config", router(web, tcp))
    assert (refused.status, "inconsistent protocols" in refused.text) == (500, True)
    assert (await consul_api.put("/v1/config", router(web, api))).json is True
    splits = [{"Weight": 50}, {"Weight": 50, "Service": api}]
    splitter = {"Kind": "service-splitter", "Name": web, "Splits": splits}
    assert (await consul_api.put("/v1/config", splitter)).json is True
    undermined = await consul_api.delete(f"/v1/config/service-defaults/{web}")
    assert undermined.status == 500
    assert (await consul_api.get(f"/v1/config/service-defaults/{web}")).status == 200


@pytest.mark.parametrize(
    ("body", "status", "text"),
    [
        ({"Kind": "odd", "Name": "x"}, 400, f"{BAD}invalid config entry kind: odd"),
        ({"Name": "x"}, 400, f"{BAD}Payload does not contain a kind/Kind key at the top level"),
        ({"Kind": "service-defaults"}, 500, "serviceName is required"),
        (
            {"Kind": "service-defaults", "Name": "x", "Odd": 1},
            400,
            f'{BAD}1 error occurred:\n\t* invalid config key "Odd"\n',
        ),
        (
            {"Kind": "service-splitter", "Name": "x", "Splits": []},
            500,
            "no splits configured",
        ),
        (
            {"Kind": "service-splitter", "Name": "x", "Splits": [{"Weight": 99}]},
            500,
            "the sum of all split weights must be 100, not 99.000000",
        ),
        (
            {"Kind": "service-resolver", "Name": "x", "DefaultSubset": "v9"},
            500,
            'DefaultSubset "v9" is not a valid subset',
        ),
        ({"Kind": "service-resolver", "Name": "x", "Redirect": {}}, 500, "Redirect is empty"),
        (
            {
                "Kind": "service-router",
                "Name": "x",
                "Routes": [{"Match": {"HTTP": {"PathPrefix": "x"}}}],
            },
            500,
            "Route[0] PathPrefix doesn't start with '/': \"x\"",
        ),
        (b"odd", 400, BAD),
    ],
)
async def test_refusals(consul_api: Api, body: Any, status: int, text: str) -> None:
    reply = await consul_api.put("/v1/config", body)
    assert reply.status == status
    assert reply.text.startswith(text)


@pytest.mark.parametrize(
    ("method", "path", "status", "text"),
    [
        ("GET", "/v1/config/odd", 500, "invalid config entry kind: odd"),
        ("GET", "/v1/config/odd/x", 500, "invalid config entry kind: odd"),
        ("DELETE", "/v1/config/odd/x", 400, "invalid config entry kind: odd"),
        ("DELETE", "/v1/config/service-router", 404, "Must provide both a kind and name to del"),
    ],
)
async def test_unknown_kinds(
    consul_api: Api, method: str, path: str, status: int, text: str
) -> None:
    reply = await consul_api.ask(method, path)
    assert reply.status == status
    assert reply.text.startswith(text)


@pytest.mark.parametrize(
    ("consul_api", "status"), [(EMBEDDED, 200), (REAL, 500)], indirect=["consul_api"]
)
async def test_the_dialect_shows_in_service_intentions(consul_api: Api, status: int) -> None:
    assert (await consul_api.get("/v1/config/service-intentions")).status == status


@pytest.mark.parametrize("consul_api", [EMBEDDED], indirect=True)
@pytest.mark.parametrize(
    "body",
    [
        {"Kind": "jwt-provider", "Issuer": "me", "JSONWebKeySet": {"Local": {"JWKS": "e30="}}},
        {"Kind": "exported-services", "Services": [{"Name": "x", "Consumers": []}]},
        {"Kind": "mesh", "TransparentProxy": {"MeshDestinationsOnly": True}},
    ],
)
async def test_newer_kinds(consul_api: Api, body: dict[str, Any]) -> None:
    name = "mesh" if body["Kind"] == "mesh" else consul_api.unique("entry")
    await consul_api.done(consul_api.put("/v1/config", {**body, "Name": name}))
    found = (await consul_api.get(f"/v1/config/{body['Kind']}/{name}")).json
    assert body.items() <= found.items()
