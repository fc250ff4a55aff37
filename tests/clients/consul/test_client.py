"""The client against a real Consul 1.8."""

import asyncio
from dataclasses import replace

import pytest

from mesh.aio.tasks import Tasks
from mesh.clients.consul import (
    ConsulAddress,
    ConsulClient,
    Dialect,
    Forbidden,
    Refused,
    Unsupported,
)
from mesh.model.intentions import Action, Intention, JwtRequirement, Permission
from tests.realconsul import RealConsul


def sidecar(service: str) -> dict[str, object]:
    return {
        "ID": f"{service}-1-sidecar",
        "Name": f"{service}-sidecar-proxy",
        "Kind": "connect-proxy",
        "Address": "127.0.0.1",
        "Port": 21000,
        "Tags": ["v1"],
        "Proxy": {"DestinationServiceName": service, "DestinationServiceID": f"{service}-1"},
        "Checks": [{"CheckID": f"{service}-ttl", "Name": "alive", "TTL": "60s"}],
    }


async def test_compare_and_set_of_zero_creates_only(client: ConsulClient) -> None:
    assert await client.kv_put("cas/a", b"\x00one", cas=0)
    assert not await client.kv_put("cas/a", b"two", cas=0)
    pair = (await client.kv_get("cas/a")).value
    assert pair is not None
    assert pair.data == b"\x00one"
    assert await client.kv_put("cas/a", b"three", cas=pair.modify_index)
    assert not await client.kv_delete("cas/a", cas=pair.modify_index)
    assert await client.kv_delete("cas/a")
    assert (await client.kv_get("cas/a")).value is None


async def test_keys_with_odd_characters_survive(client: ConsulClient) -> None:
    key = "odd/a b/ü?#%41"
    assert await client.kv_put(key, b"x")
    assert [pair.key for pair in (await client.kv_list("odd/")).value] == [key]
    assert (await client.kv_keys("odd/", separator="/")).value == ("odd/a b/",)
    assert await client.kv_delete("odd/", recurse=True)
    assert (await client.kv_list("odd/")).value == ()


async def test_blocking_read_wakes_and_an_unchanged_body_has_the_same_digest(
    client: ConsulClient,
) -> None:
    await client.kv_put("block/a", b"1")
    first = await client.kv_list("block/")
    assert (await client.kv_list("block/")).digest == first.digest
    async with Tasks() as tasks:
        waiting = tasks.spawn("wait", client.kv_list("block/", index=first.index, wait=30))
        await client.kv_put("block/b", b"2")
        second = await asyncio.wait_for(waiting, 5)
    assert second.index > first.index
    assert second.digest != first.digest
    assert [pair.data for pair in second.value] == [b"1", b"2"]


async def test_session_holds_a_lock_until_it_is_destroyed(client: ConsulClient) -> None:
    mine = await client.session_create("mine", ttl=10, behavior="delete", lock_delay=0, checks=[])
    other = await client.session_create("other", ttl=10, lock_delay=0, checks=[])
    assert await client.kv_put("lock", b"mine", acquire=mine)
    assert not await client.kv_put("lock", b"other", acquire=other)
    assert await client.session_renew(mine)
    await client.session_destroy(mine)
    assert not await client.session_renew(mine)
    assert (await client.kv_get("lock")).value is None
    assert await client.kv_put("lock", b"other", acquire=other)
    assert await client.kv_put("lock", b"other", release=other)
    await client.session_destroy(other)


async def test_transaction_applies_all_or_says_what_failed(client: ConsulClient) -> None:
    value = "MQ=="
    operations = [{"KV": {"Verb": "set", "Key": f"txn/{n}", "Value": value}} for n in range(3)]
    done = await client.txn(operations)
    assert len(done["Results"]) == 3
    failing = [
        {"KV": {"Verb": "set", "Key": "txn/3", "Value": value}},
        {"KV": {"Verb": "check-not-exists", "Key": "txn/0"}},
    ]
    with pytest.raises(Refused, match="txn/0") as caught:
        await client.txn(failing)
    assert caught.value.status == 409
    assert (await client.kv_get("txn/3")).value is None


async def test_health_connect_wakes_for_its_own_service_only(client: ConsulClient) -> None:
    for service in ("wake", "sleep"):
        await client.agent_register(sidecar(service))
    wake, sleep = await client.health_connect("wake"), await client.health_connect("sleep")
    async with Tasks() as tasks:
        waking = tasks.spawn("wake", client.health_connect("wake", index=wake.index, wait=30))
        sleeping = tasks.spawn("sleep", client.health_connect("sleep", index=sleep.index, wait=1))
        await client.agent_check_update("wake-ttl", "warning", "a bit slow")
        woken = await asyncio.wait_for(waking, 5)
        assert not sleeping.done()
        unchanged = await asyncio.wait_for(sleeping, 5)
    assert unchanged.digest == sleep.digest
    (entry,) = woken.value
    assert entry.service.proxy is not None
    assert entry.service.proxy.destination_service_name == "wake"
    status = {check.check_id: (check.status, check.output) for check in entry.checks or ()}
    assert status["wake-ttl"] == ("warning", "a bit slow")
    checks = {check.check_id for check in (await client.health_state("warning")).value}
    assert checks == {"wake-ttl"}
    await client.agent_deregister("wake-1-sidecar")
    await client.agent_deregister("wake-1-sidecar-gone")
    assert (await client.health_connect("wake")).value == ()
    assert "wake-1-sidecar" not in await client.agent_services()
    await client.agent_deregister("sleep-1-sidecar")


async def test_catalog_registration_and_its_removal(client: ConsulClient) -> None:
    await client.catalog_register(
        {
            "Node": "virtual",
            "Address": "10.0.0.7",
            "SkipNodeUpdate": True,
            "Service": {"ID": "db-1", "Service": "db", "Port": 5432},
        }
    )
    assert "db" in (await client.catalog_services()).value
    node = (await client.catalog_node("virtual")).value
    assert node is not None
    assert node.services is not None
    assert node.services["db-1"].port == 5432
    (entry,) = (await client.health_service("db")).value
    assert entry.node.address == "10.0.0.7"
    await client.catalog_deregister("virtual", service_id="db-1")
    await client.catalog_deregister("virtual")
    assert (await client.catalog_node("virtual")).value is None


async def test_config_entries_with_compare_and_set(client: ConsulClient) -> None:
    entry = {"Kind": "service-defaults", "Name": "shop", "Protocol": "http"}
    assert await client.config_put(entry, cas=0)
    assert not await client.config_put({**entry, "Protocol": "grpc"}, cas=0)
    found = (await client.config_get("service-defaults", "shop")).value
    assert found is not None
    assert found["Protocol"] == "http"
    assert await client.config_put({**entry, "Protocol": "grpc"}, cas=found["ModifyIndex"])
    assert [item["Protocol"] for item in (await client.config_list()).value] == ["grpc"]
    assert await client.config_delete("service-defaults", "shop")
    assert (await client.config_get("service-defaults", "shop")).value is None
    assert (await client.config_list()).value == ()


async def test_legacy_intentions(client: ConsulClient) -> None:
    assert await client.dialect() is Dialect.LEGACY
    intentions = client.intentions
    await intentions.put(Intention("web", "api", Action.ALLOW, description="shop"))
    (found,) = await intentions.list()
    assert (found.source, found.destination, found.action) == ("web", "api", Action.ALLOW)
    assert found.id
    await intentions.put(Intention("web", "api", Action.DENY))
    assert [item.action for item in await intentions.list()] == [Action.DENY]
    assert not await intentions.check("web", "api")
    assert await client.default_allow() is True
    await intentions.put(Intention("*", "*", Action.DENY))
    assert await client.default_allow() is None
    assert await intentions.delete("*", "*")
    assert await intentions.delete("web", "api")
    assert not await intentions.delete("web", "api")
    assert await intentions.list() == ()


async def test_l7_on_an_old_server_names_the_version_that_has_it(client: ConsulClient) -> None:
    permissions = (Permission(Action.ALLOW, methods=("GET",)),)
    with pytest.raises(Unsupported, match=r"L7 permissions needs Consul 1\.9 or newer"):
        await client.intentions.put(Intention("web", "api", permissions=permissions))
    jwt = Intention("web", "api", Action.ALLOW, jwt=(JwtRequirement("issuer"),))
    with pytest.raises(Unsupported, match=r"JWT needs Consul 1\.16"):
        await client.intentions.put(jwt)


async def test_agent_and_datacenters(client: ConsulClient, consul: RealConsul) -> None:
    assert (await client.agent_self())["Config"]["Version"].startswith("1.8")
    assert await client.datacenters() == ("dc1",)
    with pytest.raises(Refused) as caught:
        await client.acl_token_self()
    assert caught.value.status == 401


async def test_the_environment_changes_nothing(
    consul: RealConsul, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CONSUL_HTTP_ADDR", "http://[::1]:1")
    monkeypatch.setenv("CONSUL_HTTP_TOKEN", "not-mine")
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    async with ConsulClient(ConsulAddress(consul.url)) as client:
        assert await client.datacenters() == ("dc1",)


async def test_a_datacenter_that_is_not_there_is_refused_in_consuls_words(
    consul: RealConsul,
) -> None:
    async with ConsulClient(ConsulAddress(consul.url, datacenter="dc9")) as client:
        with pytest.raises(Refused, match=r"No path to datacenter.*GET /v1/catalog/services"):
            await client.catalog_services()


async def test_acls_refuse_and_a_call_may_bring_its_own_token(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    with RealConsul(tmp_path_factory.mktemp("acl"), acls=True) as server:
        async with ConsulClient(ConsulAddress(server.url)) as client:
            with pytest.raises(Forbidden, match=r"PUT /v1/kv/a at http") as caught:
                await client.kv_put("a", b"")
            assert "policies allow this request" in caught.value.remedy
            assert await client.kv_put("a", b"", token=server.token)
            with pytest.raises(Forbidden):
                await client.acl_token_self(token="0b000000-0000-4000-8000-000000000000")
            known = await client.acl_token_self(token=server.token)
            assert known.policies is not None
            assert known.policies[0].name == "global-management"
            assert await client.default_allow(token=server.token) is False


async def test_callers_of_a_peer_have_names_that_consul_takes(client: ConsulClient) -> None:
    """Consul 1.8 has no field for the peer, and takes no ``*`` beside other letters."""
    stated = [
        Intention(source, "exported", action)
        for source, action in (
            ("web", Action.DENY),
            ("web@partner", Action.ALLOW),
            ("*@partner", Action.DENY),
        )
    ]
    for each in stated:
        await client.intentions.put(each)
    records = (await client.intentions.legacy()).value
    names = {one["SourceName"] for one in records if one["DestinationName"] == "exported"}
    assert names == {"web", "web@partner", "@partner"}
    # What Consul itself would make of it, for proxies that are not ours.
    assert not await client.intentions.check("web", "exported")
    found = [one for one in await client.intentions.list() if one.destination == "exported"]
    assert {replace(one, id="") for one in found} == set(stated)
    await client.intentions.put(replace(stated[1], action=Action.DENY))
    for each in stated:
        assert await client.intentions.delete(each.source, each.destination)
    assert all(one.destination != "exported" for one in await client.intentions.list())
