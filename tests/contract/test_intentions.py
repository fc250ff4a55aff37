"""``/v1/connect/intentions``: the two dialects write differently and read alike."""

from __future__ import annotations

from collections.abc import AsyncIterator
from functools import partial
from typing import Any

import pytest

from tests.contract.api import Api
from tests.contract.servers import EMBEDDED

PATH = "/v1/connect/intentions"
modern = pytest.mark.parametrize("consul_api", [EMBEDDED], indirect=True)


async def allow(api: Api, source: str, destination: str, action: str = "allow") -> None:
    """Write an intention in the server's own dialect."""
    if (await api.get("/v1/config/service-intentions")).status == 200:
        query = {"source": source, "destination": destination}
        await api.done(api.put(f"{PATH}/exact", {"Action": action}, **query))
        return
    body = {"SourceName": source, "DestinationName": destination, "Action": action}
    await api.done(api.ask("POST", PATH, {**body, "SourceType": "consul"}))


@pytest.fixture(autouse=True)
async def clean(consul_api: Api) -> AsyncIterator[None]:
    yield
    modern_dialect = (await consul_api.get("/v1/config/service-intentions")).status == 200
    for each in (await consul_api.get(PATH)).json:
        if modern_dialect:
            pair = {"source": each["SourceName"], "destination": each["DestinationName"]}
            await consul_api.done(consul_api.delete(f"{PATH}/exact", **pair))
        else:
            await consul_api.done(consul_api.delete(f"{PATH}/{each['ID']}"))


async def verdict(api: Api, source: str, destination: str) -> bool:
    reply = await api.get(f"{PATH}/check", source=source, destination=destination)
    return bool(reply.json["Allowed"])


async def test_the_list_is_by_precedence(consul_api: Api) -> None:
    await allow(consul_api, "*", "*", "deny")
    await allow(consul_api, "web", "api")
    await allow(consul_api, "*", "api", "deny")
    await allow(consul_api, "web", "*")
    found = (await consul_api.get(PATH)).json
    shown = [(i["SourceName"], i["DestinationName"], i["Action"], i["Precedence"]) for i in found]
    assert shown == [
        ("web", "api", "allow", 9),
        ("*", "api", "deny", 8),
        ("web", "*", "allow", 6),
        ("*", "*", "deny", 5),
    ]
    assert {each["SourceType"] for each in found} == {"consul"}
    assert {each["SourceNS"] + each["DestinationNS"] for each in found} == {"defaultdefault"}


async def test_check_decides_by_precedence(consul_api: Api) -> None:
    await allow(consul_api, "*", "*", "deny")
    await allow(consul_api, "*", "api")
    await allow(consul_api, "web", "api", "deny")
    await allow(consul_api, "web", "*")
    assert not await verdict(consul_api, "web", "api")
    assert await verdict(consul_api, "other", "api")
    assert await verdict(consul_api, "web", "db")
    assert not await verdict(consul_api, "other", "db")


async def test_match_lists_what_concerns_one_side(consul_api: Api) -> None:
    await allow(consul_api, "web", "api")
    await allow(consul_api, "*", "*", "deny")
    await allow(consul_api, "other", "db")
    for side, name in (("source", "web"), ("destination", "api")):
        found = (await consul_api.get(f"{PATH}/match", by=side, name=name)).json[name]
        assert [each["Precedence"] for each in found] == [9, 5]


async def test_an_intention_wakes_the_list(consul_api: Api) -> None:
    await allow(consul_api, "a", "b")
    assert await consul_api.wakes(PATH, partial(allow, consul_api, "web", "api"))


@pytest.mark.parametrize(
    ("path", "query", "text"),
    [
        ("check", {"destination": "x"}, "required query parameter 'source' not set"),
        ("check", {"source": "x"}, "required query parameter 'destination' not set"),
        ("match", {"name": "x"}, "required query parameter 'by' not set"),
        ("match", {"by": "source"}, "required query parameter 'name' not set"),
        ("match", {"by": "odd", "name": "x"}, "'by' parameter must be one of 'source' or 'dest"),
    ],
)
async def test_missing_parameters(
    consul_api: Api, path: str, query: dict[str, str], text: str
) -> None:
    reply = await consul_api.get(f"{PATH}/{path}", **query)
    assert reply.status == 500
    assert reply.text.startswith(text)


@modern
async def test_exact_is_one_source_of_the_entry(consul_api: Api) -> None:
    pair = {"source": "web", "destination": "api"}
    permissions = [{"Action": "allow", "HTTP": {"PathPrefix": "/v1", "Methods": ["GET"]}}]
    await consul_api.put(f"{PATH}/exact", {"Permissions": permissions}, **pair)
    await allow(consul_api, "other", "api", "deny")

    found = (await consul_api.get(f"{PATH}/exact", **pair)).json
    entry = (await consul_api.get("/v1/config/service-intentions/api")).json

    assert found["Permissions"] == permissions
    assert "Action" not in found
    assert [source["Name"] for source in entry["Sources"]] == ["other", "web"] or [
        source["Name"] for source in entry["Sources"]
    ] == ["web", "other"]
    assert not await verdict(consul_api, "web", "api")

    for _ in range(2):
        assert (await consul_api.delete(f"{PATH}/exact", **pair)).json is True
    assert (await consul_api.get(f"{PATH}/exact", **pair)).status == 404
    assert (await consul_api.get("/v1/config/service-intentions/api")).status == 200
    await consul_api.delete(f"{PATH}/exact", source="other", destination="api")
    assert (await consul_api.get("/v1/config/service-intentions/api")).status == 404


@modern
async def test_an_entry_is_written_whole(consul_api: Api) -> None:
    sources = [{"Name": "*", "Action": "deny"}, {"Name": "web", "Action": "allow"}]
    body = {"Kind": "service-intentions", "Name": "api", "Sources": sources}
    await consul_api.done(consul_api.put("/v1/config", body))
    entry = (await consul_api.get("/v1/config/service-intentions/api")).json
    assert [(source["Name"], source["Precedence"]) for source in entry["Sources"]] == [
        ("web", 9),
        ("*", 8),
    ]
    assert await verdict(consul_api, "web", "api")


@modern
@pytest.mark.parametrize(
    "source",
    [
        {"Action": "allow"},
        {"Name": "web", "Action": "maybe"},
        {"Name": "web"},
        {
            "Name": "web",
            "Action": "allow",
            "Permissions": [{"Action": "allow", "HTTP": {"PathExact": "/"}}],
        },
        {"Name": "web", "Permissions": [{"Action": "maybe", "HTTP": {"PathExact": "/"}}]},
        {"Name": "web", "Permissions": [{"Action": "allow"}]},
        {"Name": "we*", "Action": "allow"},
        {"Name": "web", "Action": "allow", "Type": "odd"},
    ],
)
async def test_obvious_errors(consul_api: Api, source: dict[str, Any]) -> None:
    body = {"Kind": "service-intentions", "Name": "api", "Sources": [source]}
    reply = await consul_api.put("/v1/config", body)
    assert reply.status == 500
    assert reply.text.startswith("Sources[0]")
    assert (await consul_api.get("/v1/config/service-intentions/api")).status == 404


@modern
async def test_wildcard_destinations_take_no_permissions(consul_api: Api) -> None:
    permissions = [{"Action": "allow", "HTTP": {"PathExact": "/"}}]
    body = {"Permissions": permissions}
    reply = await consul_api.put(f"{PATH}/exact", body, source="web", destination="*")
    assert reply.status == 500
    assert "cannot be specified on wildcarded destinations" in reply.text
