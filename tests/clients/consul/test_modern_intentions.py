"""The dialect of Consul 1.9 and later, against a small server on loopback."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from mesh.clients.consul import ConsulAddress, ConsulClient, Dialect, Refused, Unsupported
from mesh.model.intentions import (
    Action,
    ClaimMatch,
    HeaderMatch,
    HeaderMatchKind,
    Intention,
    JwtRequirement,
    PathMatch,
    PathMatchKind,
    Permission,
)
from tests.clients.consul.fakeconsul import ModernConsul, serving

L7 = Intention(
    "web",
    "api",
    permissions=(
        Permission(
            Action.ALLOW,
            path=PathMatch(PathMatchKind.PREFIX, "/v1/"),
            methods=("GET", "HEAD"),
            headers=(
                HeaderMatch("x-a", HeaderMatchKind.PRESENT, invert=True),
                HeaderMatch("x-b", HeaderMatchKind.EXACT, "1", ignore_case=True),
            ),
            jwt=(JwtRequirement("okta", (ClaimMatch(("perms", "role"), "admin"),)),),
        ),
        Permission(Action.DENY),
    ),
    description="read only",
)


@pytest.fixture
async def server() -> ModernConsul:
    return ModernConsul()


@pytest.fixture
async def client(server: ModernConsul) -> AsyncIterator[ConsulClient]:
    async with (
        serving(server.application()) as url,
        ConsulClient(ConsulAddress(url)) as client,
    ):
        yield client


async def test_a_peers_callers_are_changed_beside_our_own(client: ConsulClient) -> None:
    ours = Intention("web", "api", Action.ALLOW)
    theirs = [Intention(each, "api", Action.ALLOW) for each in ("web@far", "*@far")]
    for each in (ours, *theirs):
        await client.intentions.put(each)
    entry = (await client.config_get("service-intentions", "api")).value or {}
    assert {"Name": "web", "Peer": "far", "Action": "allow"} in entry["Sources"]
    assert set(await client.intentions.list()) == {ours, *theirs}
    assert await client.intentions.delete("web@far", "api")
    assert set(await client.intentions.list()) == {ours, theirs[1]}


async def test_what_is_put_is_read_back(client: ConsulClient) -> None:
    assert await client.dialect() is Dialect.CONFIG_ENTRIES
    await client.intentions.put(L7)
    assert await client.intentions.list() == (L7,)


async def test_other_sources_and_the_entrys_own_fields_stay(
    client: ConsulClient, server: ModernConsul
) -> None:
    server.entries["api"] = {
        "Kind": "service-intentions",
        "Name": "api",
        "Sources": [
            {"Name": "ops", "Action": "allow", "Precedence": 9, "Type": "consul"},
            {"Name": "web", "Action": "deny", "Precedence": 9, "LegacyID": "x"},
            {"Name": "web", "Peer": "far", "Action": "allow"},
        ],
        "JWT": {"Providers": [{"Name": "okta"}]},
        "Meta": {"team": "shop"},
        "ModifyIndex": 7,
    }
    await client.intentions.put(Intention("web", "api", Action.ALLOW))
    written = server.entries["api"]
    assert written["Meta"] == {"team": "shop"}
    assert written["JWT"] == {"Providers": [{"Name": "okta"}]}
    assert written["Sources"] == [
        {"Name": "ops", "Action": "allow", "Type": "consul"},
        {"Name": "web", "Peer": "far", "Action": "allow"},
        {"Name": "web", "Action": "allow"},
    ]


async def test_concurrent_writers_lose_nothing(client: ConsulClient, server: ModernConsul) -> None:
    sources = [f"web-{number}" for number in range(6)]
    await asyncio.gather(
        *(client.intentions.put(Intention(name, "api", Action.ALLOW)) for name in sources)
    )
    assert [item.source for item in await client.intentions.list()] != []
    assert {item.source for item in await client.intentions.list()} == set(sources)


async def test_the_last_source_takes_the_entry_with_it(
    client: ConsulClient, server: ModernConsul
) -> None:
    await client.intentions.put(Intention("web", "api", Action.ALLOW))
    await client.intentions.put(Intention("ops", "api", Action.ALLOW))
    assert await client.intentions.delete("web", "api")
    assert [item["Name"] for item in server.entries["api"]["Sources"]] == ["ops"]
    assert await client.intentions.delete("ops", "api")
    assert server.entries == {}
    assert not await client.intentions.delete("ops", "api")


async def test_an_entry_that_never_holds_still_is_an_error(
    client: ConsulClient, server: ModernConsul
) -> None:
    server.lose_next = 1000
    with pytest.raises(Refused, match="changed 16 times while it was being written"):
        await client.intentions.put(L7)


async def test_jwt_on_a_server_before_1_16_names_that_version(
    client: ConsulClient, server: ModernConsul
) -> None:
    server.refuse_keys = {"JWT"}
    jwt = Intention("web", "api", Action.ALLOW, jwt=(JwtRequirement("okta"),))
    with pytest.raises(Unsupported, match=r"1\.16"):
        await client.intentions.put(jwt)


async def test_default_hides_behind_an_intention_from_anybody_to_anybody(
    client: ConsulClient,
) -> None:
    assert await client.default_allow() is True
    await client.intentions.put(Intention("*", "*", Action.ALLOW))
    assert await client.default_allow() is None
