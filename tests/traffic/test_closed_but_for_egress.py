"""An application that may call nobody outside, but for one service by the egress gateway.

The whole estate stands in a network of its own, where the application's connections are redirected
to its proxy.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, Final

import pytest

from mesh.clients.consul.policies import Policies
from mesh.clients.consul.policy_records import puts
from mesh.demo.estate import HOST, Estate, free_ports
from mesh.model.intentions import Action, Intention
from mesh.model.proxies import Role
from mesh.policies.document import parse
from mesh.policies.registry import KINDS
from tests.traffic.gateways import start_gateway
from tests.traffic.namespace import namespace
from tests.traffic.waiting import until

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(120)]

_CAPTURE: Final = 15_002
_OUTSIDE, _PORT = "192.0.2.1", 4000
_PATIENCE: Final = 5
_CLOSED: Final[dict[str, Any]] = {
    "type": "MeshPassthrough",
    "name": "closed",
    "spec": {"default": {"passthroughMode": "None"}},
}
_SERVICE: Final[dict[str, Any]] = {
    "type": "MeshExternalService",
    "name": "outside",
    "spec": {"endpoints": [{"address": _OUTSIDE, "port": _PORT}], "egress": True},
}


def test_only_the_external_service_passes_and_only_by_egress(tmp_path: Path) -> None:
    with namespace(f"{_OUTSIDE}/32") as network:
        network.redirect([_CAPTURE])
        network.do(lambda: asyncio.run(_scenario(tmp_path)))


async def _scenario(directory: Path) -> None:
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(_host())
        estate = await stack.enter_async_context(Estate(directory))
        await estate.start_zone()
        consul = await stack.enter_async_context(estate.client())
        await consul.intentions.put(Intention("web", "outside", Action.ALLOW))
        store = Policies(consul)
        documents = [parse(one, KINDS).raw for one in (_CLOSED, _SERVICE)]
        await store.commit([*puts(await store.read("default"), documents)])
        token = {"token_file": str(estate.consul_token_file), "url": estate.consul_url}
        gateway = await start_gateway(stack, estate, Role.EGRESS, "egress-1", {"consul": token})
        web = await estate.start_proxy(
            "web",
            app_port=free_ports(1)[0],
            upstreams=["outside"],
            settings={"capture": f"{HOST}:{_CAPTURE}", "health": {"kind": "none"}},
        )
        await gateway.ready()
        await estate.ready()

        async def through() -> bool | None:
            return await _said(HOST, web.upstreams["outside"]) == b"outside\n" or None

        await until("the service is called by the gateway", through, patience=30)
        # By itself the host is there; to the application it is not.
        assert await _said(_OUTSIDE, _PORT) == b"outside\n"
        assert await _said(_OUTSIDE, _PORT, mark=_CAPTURE) == b""
        await gateway.kill()

        async def closed() -> bool | None:
            return await _said(HOST, web.upstreams["outside"]) == b"" or None

        await until("without the gateway nothing passes", closed)
        assert await _said(_OUTSIDE, _PORT, mark=_CAPTURE) == b""


@asynccontextmanager
async def _host() -> AsyncIterator[None]:
    async def greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"outside\n")
        await writer.drain()
        await reader.read()
        writer.close()

    async with await asyncio.start_server(greet, _OUTSIDE, _PORT):
        yield


async def _said(address: str, port: int, *, mark: int = 0) -> bytes:
    """Dial, captured by whoever captures ``mark``, and return the first line; empty if it ends."""
    dialled = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    dialled.settimeout(0)
    dialled.setsockopt(socket.SOL_SOCKET, socket.SO_MARK, mark)
    await asyncio.get_running_loop().sock_connect(dialled, (address, port))
    reader, writer = await asyncio.open_connection(sock=dialled)
    try:
        return await asyncio.wait_for(reader.readline(), _PATIENCE)
    except ConnectionError:
        return b""
    finally:
        writer.close()
