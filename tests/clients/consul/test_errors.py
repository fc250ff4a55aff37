"""Failures of the way to Consul, on real sockets."""

import asyncio
import contextlib
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiohttp import web

from mesh.clients.consul import (
    ConsulAddress,
    ConsulClient,
    Malformed,
    Refused,
    Timeout,
    Unreachable,
)
from mesh.model.violations import InvalidInputError
from tests.clients.consul.fakeconsul import serving


@contextlib.asynccontextmanager
async def answering(status: int, text: str) -> AsyncIterator[ConsulClient]:
    async def handle(_: web.Request) -> web.Response:
        return web.Response(status=status, text=text)

    app = web.Application()
    app.router.add_route("*", "/{any:.*}", handle)
    async with serving(app) as url, ConsulClient(ConsulAddress(url)) as client:
        yield client


async def test_nobody_listens() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
        async with ConsulClient(ConsulAddress(url)) as client:
            with pytest.raises(Unreachable, match=r"GET /v1/agent/self at http") as caught:
                await client.agent_self()
    assert "Check that the agent runs there" in str(caught.value)


async def test_a_frozen_server_runs_into_the_deadline() -> None:
    with socket.socket() as frozen:
        frozen.bind(("127.0.0.1", 0))
        frozen.listen()
        url = f"http://127.0.0.1:{frozen.getsockname()[1]}"
        async with ConsulClient(ConsulAddress(url), margin=0.05) as client:
            with pytest.raises(Timeout, match=r"no answer within 0\.05 s"):
                await client.catalog_services()
            with pytest.raises(Timeout, match=r"no answer within 0\.103125 s"):
                await client.catalog_services(index=5, wait=0.05)


async def test_an_error_keeps_consuls_words() -> None:
    async with answering(500, "No cluster leader") as client:
        with pytest.raises(Refused, match="refused with 500: No cluster leader") as caught:
            await client.kv_put("a", b"")
    assert caught.value.words == "No cluster leader"
    assert "may have no leader" in caught.value.remedy


async def test_an_answer_that_is_not_consuls() -> None:
    async with answering(200, "<html>welcome</html>") as client:
        answer = await client.health_connect("web")
        with pytest.raises(Malformed, match="address is a Consul agent's HTTP API"):
            _ = answer.value


async def test_a_unix_socket_serves_as_well(tmp_path: Path) -> None:
    async def handle(_: web.Request) -> web.Response:
        return web.json_response(["dc1"])

    app = web.Application()
    app.router.add_get("/v1/catalog/datacenters", handle)
    runner = web.AppRunner(app)
    await runner.setup()
    try:
        await web.UnixSite(runner, str(tmp_path / "consul.sock")).start()
        async with ConsulClient(ConsulAddress(f"unix://{tmp_path}/consul.sock")) as client:
            assert await client.datacenters() == ("dc1",)
    finally:
        await runner.cleanup()


async def test_a_missing_certificate_is_named(tmp_path: Path) -> None:
    address = ConsulAddress("https://127.0.0.1:1", ca_file=str(tmp_path / "none.pem"))
    async with ConsulClient(address) as client:
        with pytest.raises(Unreachable, match=r"none\.pem"):
            await client.agent_self()


def test_an_address_reports_every_violation_at_once() -> None:
    with pytest.raises(InvalidInputError) as caught:
        ConsulAddress("consul:8500", cert_file="a.pem")
    assert {violation.path for violation in caught.value.violations} == {"url", "cert_file"}


@pytest.mark.parametrize(
    "url", ["http://consul", "http://", "unix://", "http://a:1/path", "http://a:x", "ftp://a:1"]
)
def test_addresses_that_cannot_be_dialled(url: str) -> None:
    with pytest.raises(InvalidInputError, match="url"):
        ConsulAddress(url)


def test_a_token_is_never_shown() -> None:
    assert "s3cret" not in repr(ConsulAddress("http://[::1]:8500", token="s3cret"))


async def test_ipv6_literals_are_dialled() -> None:
    with socket.socket(socket.AF_INET6) as listening:
        listening.bind(("::1", 0))
        listening.listen()
        listening.settimeout(0)
        url = f"http://[::1]:{listening.getsockname()[1]}"
        async with ConsulClient(ConsulAddress(url), margin=0.2) as client:
            with pytest.raises(Timeout):
                await client.agent_self()
        loop = asyncio.get_running_loop()
        connection, _ = await loop.sock_accept(listening)
        connection.close()


def test_importing_the_client_leaves_requests_out() -> None:
    program = (
        "import sys, mesh.clients.consul as c; c.ConsulClient(c.ConsulAddress());"
        "sys.exit('requests' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
