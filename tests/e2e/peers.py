"""Two zones of different organisations: each with a Consul, a trust domain and a gateway."""

from __future__ import annotations

import asyncio
import ssl
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import aiohttp

from mesh.agent.state import StateDir
from mesh.clients.consul import ConsulAddress, ConsulClient
from mesh.demo.estate import HOST, Estate, Service, free_ports
from mesh.demo.processes import Child, start
from tests.agent.envoys import end_all
from tests.docs.blocks import GUIDES, blocks
from tests.e2e.applications import shop
from tests.realconsul import RealConsul
from tests.traffic.waiting import until

NAMES = ("west", "partner")


@dataclass
class Side:
    """One of the two zones."""

    name: str
    estate: Estate
    consul: ConsulClient
    gateway: Child
    gateway_port: int
    start_gateway: Callable[[], Awaitable[Child]]


@dataclass
class Peers:
    """Both zones, and the proxies in them."""

    west: Side
    partner: Side
    directory: Path
    session: aiohttp.ClientSession
    upstream: int = 0

    async def follow_the_guide(self, *beginnings: str) -> str:
        """Run the guide's commands that begin so, each where the guide says; return the output."""
        said = ""
        for block in blocks(GUIDES / "peering.md", "sh"):
            where, *commands = block.text.splitlines()
            side = self.west if where == "# west" else self.partner
            for command in commands:
                if command.removeprefix("mesh ").startswith(beginnings):
                    said += await self.mesh(side, *command.split()[1:])
        return said

    async def mesh(self, side: Side, *arguments: str) -> str:
        """Run a command at one side, in the directory of the guide's files."""
        found = [
            str(self.directory / each) if each.endswith((".token", ".yaml")) else each
            for each in arguments
        ]
        return await side.estate.mesh(found)

    async def status(self) -> int:
        """Call as the application of ``shop`` would; 0 for no answer at all."""
        try:
            async with self.session.get(f"http://{HOST}:{self.upstream}/") as answer:
                return answer.status
        except aiohttp.ClientError:
            return 0

    async def answered(self, *wanted: int, patience: float = 30) -> None:
        """Call until the answer is one of ``wanted``."""

        async def ask() -> bool | None:
            return True if await self.status() in wanted else None

        await until(f"the call is answered with {wanted}", ask, patience=patience)


@asynccontextmanager
async def two_zones(directory: Path) -> AsyncIterator[Peers]:
    """Run both zones, not yet peers; ``shop`` is in the one, ``api`` (and ``db``) in the other."""
    async with AsyncExitStack() as stack:
        session = await stack.enter_async_context(
            aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=5))
        )
        west, partner = [await _side(stack, directory, name) for name in NAMES]
        (export,) = [
            block
            for block in blocks(GUIDES / "peering.md", "yaml")
            if block.text.startswith("# exports.yaml")
        ]
        (directory / "exports.yaml").write_text(export.text)
        peers = Peers(west, partner, directory, session)
        await west.consul.config_put(
            {"Kind": "service-defaults", "Name": "api", "Protocol": "http"}
        )
        for name in ("api", "db"):
            port = free_ports(1)[0]
            await stack.enter_async_context(shop(port))
            await west.estate.start_proxy(name, app_port=port, settings={"consul": _consul(west)})
        await west.estate.ready()
        yield peers


async def start_caller(peers: Peers, service: str = "shop") -> Service:
    """Start a caller in the zone ``partner`` whose upstream is ``api`` of ``west``."""
    caller = await peers.partner.estate.start_proxy(
        service,
        app_port=free_ports(1)[0],
        upstreams=["api.west"],
        settings={"health": {"kind": "none"}, "consul": _consul(peers.partner)},
    )
    peers.upstream = caller.upstreams["api.west"]
    return caller


def _consul(side: Side) -> dict[str, str]:
    return {"url": side.estate.consul_url}


async def _side(stack: AsyncExitStack, directory: Path, name: str) -> Side:
    home = directory / name
    home.mkdir()
    consul = await stack.enter_async_context(RealConsul(home, datacenter=name))
    estate = await stack.enter_async_context(
        Estate(
            home / "estate",
            consul=consul.url,
            zone_settings={"trust_domain": f"{name}.example"},
        )
    )
    await estate.start_zone()
    client = await stack.enter_async_context(ConsulClient(ConsulAddress(consul.url)))
    token = home / "gateway.join-token"
    await estate.mesh(["token", "create", "--service", "mesh-gateway", "--out", str(token)])
    port, ready = free_ports(2)
    state = home / "gateway"

    async def gateway() -> Child:
        command = [
            *(sys.executable, "-m", "mesh.cli", "gateway", "--ingress"),
            *("--zone-api", estate.zone_api, "--join-token-file", str(token)),
            *("--state-dir", str(state), "--address", HOST, "--port", str(port)),
            *("--advertise-address", HOST, "--listen", f"{HOST}:{ready}"),
            *("--consul-url", consul.url, "--concurrency", "1", "--drain", "1s"),
        ]
        environment = {"PATH": str(Path(sys.executable).parent), "HOME": str(home)}
        child = await start("gateway", command, log=home / "gateway.log", environment=environment)
        stack.push_async_callback(child.stop)
        await child.answers(f"http://{HOST}:{ready}/ready")
        return child

    stack.callback(end_all, StateDir(state))
    return Side(name, estate, client, await gateway(), port, gateway)


async def exists(consul: ConsulClient, prefix: str) -> bool:
    """Tell whether there is any key below ``prefix``."""
    return bool((await consul.kv_keys(prefix)).value)


async def handshake(port: int, name: str) -> bool:
    """Tell whether whoever is asked for by ``name`` begins a TLS handshake at ``port``."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    try:
        async with asyncio.timeout(5):
            _, writer = await asyncio.open_connection(HOST, port, ssl=context, server_hostname=name)
    except (OSError, TimeoutError):
        return False
    writer.close()
    return True
