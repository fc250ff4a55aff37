"""The guide to a first zone, followed on a real Consul with ACLs on and a default of deny."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import pytest_asyncio

from mesh.demo.estate import HOST, Estate, free_ports
from tests.docs.blocks import GUIDES, blocks
from tests.realconsul import RealConsul
from tests.traffic.waiting import until

pytestmark = [pytest.mark.e2e, pytest.mark.asyncio(loop_scope="module")]

RULES = {
    block.name.removesuffix(".hcl"): block.text for block in blocks(GUIDES / "first-zone.md", "hcl")
}

_SEEN_THROUGH = re.compile(
    r'^envoy_cluster_ssl_fail_verify_san\{envoy_cluster_name="ghost"\} [1-9]', re.MULTILINE
)


class Acls:
    """Makes policies and tokens, as the guide has the administrator do."""

    def __init__(self, consul: RealConsul, directory: Path, session: aiohttp.ClientSession) -> None:
        """Write the secrets of tokens below ``directory``."""
        self._consul = consul
        self._directory = directory
        self._session = session
        self.accessors: dict[str, str] = {}

    async def policy(self, name: str) -> None:
        """Make the policy ``name`` of the guide."""
        await self._put("policy", {"Name": name, "Rules": RULES[name]})

    async def token(self, name: str, *policies: str, service: str = "") -> Path:
        """Make a token and return the file with its secret."""
        made = await self._put("token", _grants(name, policies, service))
        self.accessors[name] = made["AccessorID"]
        file = self._directory / f"{name}-token"
        file.write_text(made["SecretID"])
        return file

    async def grant(self, name: str, *policies: str) -> None:
        """Let the token ``name`` have ``policies`` from now on."""
        await self._put(f"token/{self.accessors[name]}", _grants(name, policies, ""))

    async def _put(self, kind: str, body: dict[str, Any]) -> dict[str, Any]:
        url = f"{self._consul.url}/v1/acl/{kind}"
        headers = {"X-Consul-Token": self._consul.token}
        async with self._session.put(url, json=body, headers=headers) as answer:
            assert answer.status == 200, await answer.text()
            found: dict[str, Any] = await answer.json()
            return found


def _grants(name: str, policies: tuple[str, ...], service: str) -> dict[str, Any]:
    identities = [{"ServiceName": service}] if service else []
    return {
        "Description": name,
        "Policies": [{"Name": each} for each in policies],
        "ServiceIdentities": identities,
    }


@dataclass(frozen=True, slots=True)
class FirstZone:
    """The estate that the guide makes."""

    estate: Estate
    acls: Acls
    operator: Path

    async def intention(self, action: str, source: str, destination: str) -> None:
        """Write an intention with the operator's token."""
        token = str(self.operator)
        await self.estate.mesh(
            ["intention", action, source, destination, "--consul-token-file", token]
        )


async def _echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while line := await reader.readline():
        writer.write(line)
        await writer.drain()
    writer.close()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def first_zone(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[FirstZone]:
    home = tmp_path_factory.mktemp("first-zone")
    api, web = free_ports(2)
    async with RealConsul(home, acls=True) as consul, aiohttp.ClientSession() as session:
        acls = Acls(consul, home, session)
        for name in RULES:
            await acls.policy(name)
        zone = await acls.token("zone", "mesh-zone")
        operator = await acls.token("operator", "mesh-operator")
        async with (
            await asyncio.start_server(_echo, HOST, api),
            await asyncio.start_server(_echo, HOST, web),
            Estate(home / "estate", consul=consul.url, consul_token=zone) as estate,
        ):
            await estate.start_vault()
            await estate.start_zone()
            for name, port, upstreams in (("api", api, []), ("web", web, ["api", "ghost"])):
                token = await acls.token(name, service=name)
                await estate.start_proxy(
                    name,
                    app_port=port,
                    upstreams=upstreams,
                    settings={
                        "consul": {"url": consul.url, "token_file": str(token)},
                        "health": {"kind": "none"},
                    },
                )
            await estate.ready("api", "web")
            yield FirstZone(estate, acls, operator)


async def _answer(port: int) -> bytes | None:
    try:
        reader, writer = await asyncio.open_connection(HOST, port)
        writer.write(b"hello\n")
        found = await asyncio.wait_for(reader.readline(), 2)
        writer.close()
    except OSError:
        return None
    return found or None


async def test_a_call_is_refused_then_allowed_and_its_connection_ended(
    first_zone: FirstZone,
) -> None:
    port = first_zone.estate.services["web"].upstreams["api"]
    assert await _answer(port) is None
    await first_zone.intention("allow", "web", "api")
    assert await until("web calls api", lambda: _answer(port)) == b"hello\n"

    reader, writer = await asyncio.open_connection(HOST, port)
    writer.write(b"still\n")
    assert await reader.readline() == b"still\n"
    await first_zone.intention("deny", "web", "api")
    # The connection was quiet and open; ADR 11 says four seconds.
    assert await asyncio.wait_for(reader.read(), 10) == b""
    writer.close()
    assert await _answer(port) is None


async def test_all_is_well_with_the_zones_own_token(first_zone: FirstZone) -> None:
    code, output, errors = await first_zone.estate.mesh_result(["check", "-o", "json"])
    assert code == 0, errors
    checks = [each for section in json.loads(output)["sections"] for each in section["checks"]]
    # Consul 1.8 knows no permissions for requests; all else is well.
    assert [
        each["text"] for each in checks if each["level"] != "ok" and "1.9" not in each["text"]
    ] == []


async def test_a_false_instance_gets_nothing(first_zone: FirstZone) -> None:
    estate = first_zone.estate
    web = estate.services["web"]
    # Whoever may write the service "ghost" says that it answers where in truth "web" does.
    token = await first_zone.acls.token("ghost", service="ghost")
    instance = {
        "Name": "ghost-sidecar-proxy",
        "Kind": "connect-proxy",
        "Address": HOST,
        "Port": web.inbound_port,
        "Proxy": {"DestinationServiceName": "ghost"},
    }
    url = f"{estate.consul_url}/v1/agent/service/register"
    headers = {"X-Consul-Token": token.read_text()}
    async with aiohttp.ClientSession() as session:
        async with session.put(url, json=instance, headers=headers) as answer:
            assert answer.status == 200
        for destination in ("ghost", "web"):
            await first_zone.intention("allow", "web", destination)

        async def noticed() -> bool | None:
            assert await _answer(web.upstreams["ghost"]) is None
            async with session.get(f"http://{HOST}:{web.ready_port}/metrics") as page:
                return _SEEN_THROUGH.search(await page.text()) is not None or None

        assert await until("web sees that it is not ghost", noticed)


async def test_a_host_without_an_agent_needs_the_registrars_policy(first_zone: FirstZone) -> None:
    estate = first_zone.estate
    await first_zone.acls.grant("zone", "mesh-zone", "mesh-registrar")
    await estate.start_proxy(
        "courier",
        app_port=free_ports(1)[0],
        settings={"registration": "zone", "health": {"kind": "none"}},
    )

    async def registered() -> bool | None:
        found = json.loads(await estate.mesh(["services", "-o", "json"]))
        return True if any(each["name"] == "courier" for each in found) else None

    assert await until("courier is registered", registered)


async def test_a_proxys_token_registers_nobody_else(first_zone: FirstZone) -> None:
    estate = first_zone.estate
    token = (estate.directory.parent / "web-token").read_text()
    body = {"Name": "api", "ID": "stolen", "Port": 1}
    async with (
        aiohttp.ClientSession(headers={"X-Consul-Token": token}) as session,
        session.put(f"{estate.consul_url}/v1/agent/service/register", json=body) as answer,
    ):
        assert answer.status == 403
