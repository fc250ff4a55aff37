"""``/v1/agent``: an agent carries what it is told to the catalog, at once or in time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from functools import partial
from typing import Any

import pytest

from tests.contract.api import Api


@pytest.fixture
async def listener() -> AsyncIterator[tuple[asyncio.Server, int]]:
    server = await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", 0)
    async with server:
        yield server, server.sockets[0].getsockname()[1]


async def registered(api: Api, **more: Any) -> str:
    name = api.unique("app")
    await api.done(api.put("/v1/agent/service/register", {"Name": name, "Port": 80, **more}))
    return name


async def status_of(api: Api, name: str) -> list[str]:
    found = (await api.get(f"/v1/health/checks/{name}")).json
    return [check["Status"] for check in found]


async def is_status(api: Api, name: str, *expected: str) -> bool:
    return await status_of(api, name) == list(expected)


async def test_self_names_the_datacenter_and_the_version(consul_api: Api) -> None:
    config = (await consul_api.get("/v1/agent/self")).json["Config"]
    assert config["Datacenter"] == "dc1"
    assert config["NodeName"] == consul_api.node
    assert config["Version"].count(".") == 2


async def test_there_is_a_leader(consul_api: Api) -> None:
    assert ":" in (await consul_api.get("/v1/status/leader")).json


async def test_a_service_is_listed_by_the_agent_and_in_the_catalog(consul_api: Api) -> None:
    name = await registered(
        consul_api, Address="10.0.0.1", Tags=["t"], Meta={"a": "b"}, Check={"TTL": "30s"}
    )
    found = (await consul_api.get("/v1/agent/services")).json[name]
    place = {"Address": "10.0.0.1", "Port": 80}
    assert (found["Service"], found["Port"], found["Tags"]) == (name, 80, ["t"])
    assert found["Meta"] == {"a": "b"}
    assert found["TaggedAddresses"] == {"lan_ipv4": place, "wan_ipv4": place}
    await consul_api.eventually(partial(is_status, consul_api, name, "critical"))
    (listed,) = (await consul_api.get(f"/v1/catalog/service/{name}")).json
    assert listed["Node"] == consul_api.node


async def test_a_connect_proxy_keeps_its_fields(consul_api: Api) -> None:
    name = consul_api.unique("app")
    proxy = {
        "DestinationServiceName": name,
        "DestinationServiceID": f"{name}-1",
        "LocalServicePort": 8080,
        "LocalServiceAddress": "127.0.0.1",
    }
    body = {"Name": f"{name}-sidecar-proxy", "Kind": "connect-proxy", "Port": 1, "Proxy": proxy}
    await consul_api.done(consul_api.put("/v1/agent/service/register", body))

    async def listed() -> bool:
        return bool((await consul_api.get(f"/v1/health/connect/{name}")).json)

    await consul_api.eventually(listed)
    found = (await consul_api.get("/v1/agent/services")).json[f"{name}-sidecar-proxy"]
    assert proxy.items() <= found["Proxy"].items()


async def test_a_ttl_check_takes_its_status_from_beats(consul_api: Api) -> None:
    name = await registered(consul_api, Check={"TTL": "30s", "Status": "passing"})
    check = f"service:{name}"
    await consul_api.eventually(partial(is_status, consul_api, name, "passing"))
    for verb, status in (("warn", "warning"), ("fail", "critical"), ("pass", "passing")):
        await consul_api.done(consul_api.put(f"/v1/agent/check/{verb}/{check}", note="words"))
        await consul_api.eventually(partial(is_status, consul_api, name, status))
    body = {"Status": "warning", "Output": "other words"}
    await consul_api.done(consul_api.put(f"/v1/agent/check/update/{check}", body))
    found = (await consul_api.get("/v1/agent/checks")).json[check]
    assert (found["Status"], found["Output"], found["Type"]) == ("warning", "other words", "ttl")


async def test_a_ttl_check_without_beats_turns_critical(consul_api: Api) -> None:
    name = await registered(consul_api, Check={"TTL": "300ms", "Status": "passing"})
    await consul_api.eventually(partial(is_status, consul_api, name, "critical"))
    found = (await consul_api.get("/v1/agent/checks")).json[f"service:{name}"]
    assert found["Output"].startswith("TTL expired")


async def test_registering_again_keeps_the_status(consul_api: Api) -> None:
    name = await registered(consul_api, Check={"TTL": "30s"})
    await consul_api.done(consul_api.put(f"/v1/agent/check/pass/service:{name}"))
    body = {"Name": name, "Port": 81, "Check": {"TTL": "30s"}}
    await consul_api.done(consul_api.put("/v1/agent/service/register", body))
    found = (await consul_api.get("/v1/agent/checks")).json[f"service:{name}"]
    assert found["Status"] == "passing"


async def test_tcp_checks_follow_the_listener(
    consul_api: Api, listener: tuple[asyncio.Server, int]
) -> None:
    server, port = listener
    check = {"TCP": f"127.0.0.1:{port}", "Interval": "50ms", "Timeout": "1s"}
    name = await registered(consul_api, Check=check)
    await consul_api.eventually(partial(is_status, consul_api, name, "passing"))
    server.close()
    await consul_api.eventually(partial(is_status, consul_api, name, "critical"))


@pytest.mark.parametrize(
    ("answer", "status"),
    [("200 OK", "passing"), ("429 Busy", "warning"), ("500 No", "critical")],
)
async def test_http_checks_follow_the_answer(consul_api: Api, answer: str, status: str) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        head = f"HTTP/1.1 {answer}\r\nContent-Length: 2\r\nConnection: close\r\n\r\nhi"
        writer.write(head.encode())
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/health"
        name = await registered(consul_api, Check={"HTTP": url, "Interval": "50ms"})

        async def told() -> bool:
            found = (await consul_api.get("/v1/agent/checks")).json[f"service:{name}"]
            return bool(found["Status"] == status and answer in found["Output"])

        await consul_api.eventually(told)
        await consul_api.done(consul_api.put(f"/v1/agent/service/deregister/{name}"))


async def test_an_alias_follows_the_other_service(consul_api: Api) -> None:
    app = await registered(consul_api, Check={"TTL": "30s", "Status": "passing"})
    proxy = await registered(consul_api, Check={"AliasService": app})
    await consul_api.eventually(partial(is_status, consul_api, proxy, "passing"))
    await consul_api.done(consul_api.put(f"/v1/agent/check/fail/service:{app}"))
    await consul_api.eventually(partial(is_status, consul_api, proxy, "critical"))


async def test_checks_are_numbered_and_can_be_added_and_removed(consul_api: Api) -> None:
    name = await registered(consul_api, Checks=[{"TTL": "30s"}, {"TTL": "40s", "Name": "second"}])
    extra = {"Name": f"{name}-extra", "TTL": "30s", "ServiceID": name, "Status": "passing"}
    await consul_api.done(consul_api.put("/v1/agent/check/register", extra))

    async def ids() -> set[str]:
        found = (await consul_api.get("/v1/agent/checks")).json.values()
        return {check["CheckID"] for check in found if check["ServiceID"] == name}

    assert await ids() == {f"service:{name}:1", f"service:{name}:2", f"{name}-extra"}
    for _ in range(2):
        await consul_api.done(consul_api.put(f"/v1/agent/check/deregister/{name}-extra"))
    assert await ids() == {f"service:{name}:1", f"service:{name}:2"}


async def test_deregistering_is_idempotent(consul_api: Api) -> None:
    name = await registered(consul_api, Check={"TTL": "30s"})
    for _ in range(2):
        await consul_api.done(consul_api.put(f"/v1/agent/service/deregister/{name}"))
    assert name not in (await consul_api.get("/v1/agent/services")).json

    async def gone() -> bool:
        return not (await consul_api.get(f"/v1/catalog/service/{name}")).json

    await consul_api.eventually(gone)


@pytest.mark.parametrize(
    ("path", "body", "status", "text"),
    [
        ("service/register", {"Port": 1}, 400, "Missing service name"),
        ("service/register", {"Name": "x", "Port": "y"}, 400, "Request decode failed: json: "),
        ("service/register", b"odd", 400, "Request decode failed: "),
        (
            "service/register",
            {"Name": "p", "Kind": "connect-proxy", "Port": 1},
            400,
            "1 error occurred:\n\t* Proxy.DestinationServiceName must be non-empty",
        ),
        (
            "service/register",
            {"Name": "p", "Kind": "connect-proxy", "Proxy": {"DestinationServiceName": "q"}},
            400,
            "1 error occurred:\n\t* Port must be set for a Connect proxy",
        ),
        ("check/register", {"TTL": "1s"}, 400, "Missing check name"),
        ("check/register", {"Name": "x"}, 400, "Invalid check: TTL must be > 0 for TTL checks"),
        ("check/register", {"Name": "x", "TCP": "x:1"}, 400, "Invalid check: Interval must be >"),
        ("check/register", {"Name": "x", "TTL": "1s", "Status": "y"}, 400, "Bad check status"),
        (
            "check/register",
            {"Name": "x", "TTL": "1s", "ServiceID": "none"},
            500,
            'ServiceID "none" does not exist',
        ),
        ("check/pass/none", None, 500, 'CheckID "none" does not have associated TTL'),
        ("check/update/none", {"Status": "odd"}, 400, "Invalid check status: 'odd'"),
    ],
)
async def test_refusals(consul_api: Api, path: str, body: Any, status: int, text: str) -> None:
    reply = await consul_api.put(f"/v1/agent/{path}", body)
    assert reply.status == status
    assert reply.text.startswith(text)


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/v1/agent/service/register", 405),
        ("GET", "/v1/txn", 405),
        ("GET", "/v1/nothing", 404),
        ("GET", "/nothing", 404),
    ],
)
async def test_unknown_paths_and_methods(
    consul_api: Api, method: str, path: str, status: int
) -> None:
    assert (await consul_api.ask(method, path)).status == status
