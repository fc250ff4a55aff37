"""An application that knows nothing of the mesh calls services by name: one zone, real kernel."""

from __future__ import annotations

import asyncio
import ipaddress
import json
import os
import shutil
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest
import pytest_asyncio

from mesh.capture.plan import OWN_USER, plan
from mesh.capture.table import replacement
from mesh.config.capture import CaptureSettings
from mesh.demo.estate import TRUST_DOMAIN, Estate
from mesh.model import vips
from mesh.model.intentions import Action, Intention
from tests import realpostgres
from tests.traffic.waiting import until
from tests.zones.bed import application
from tests.zones.namespaces import ip, run
from tests.zones.network import Network

pytestmark = [pytest.mark.e2e, pytest.mark.asyncio(loop_scope="module")]
_USER: Final = 12_345
"""The application's user: what it sends is captured, and nothing else."""
_CAPTURE, _NAMES = 15_001, 15_053
_SETTINGS: Final = CaptureSettings.model_validate(
    {
        "proxies": [{"service": "web", "users": [str(_USER)], "outbound": _CAPTURE}],
        "dns": {"port": _NAMES},
        "trust_domain": TRUST_DOMAIN,
    }
)
_OUTSIDE: Final = ("fd99::1/64", "::/0")


def _accounts(name: str) -> int | None:
    # The proxies of an estate run as whoever runs the test.
    return os.getuid() if name == OWN_USER else None


@dataclass(frozen=True, slots=True)
class Bed:
    """A zone with ``web``, whose calls are captured, and ``api`` and ``db``."""

    network: Network
    estate: Estate

    async def curl(self, url: str, *more: str) -> tuple[int, str]:
        """Call ``url`` as the application; return curl's exit code and what it prints."""
        return await self._run("curl", "-sS", "--max-time", "5", *more, url)

    async def told(self, name: str, family: str = "ahostsv4") -> list[str]:
        """Return what the resolver of the C library says of ``name``."""
        _, output = await self._run("getent", family, name)
        return sorted({line.split()[0] for line in output.splitlines()})

    async def answered(self, url: str, words: str) -> None:
        """Wait until ``url`` is answered with ``words`` in it."""

        async def so() -> bool | None:
            return True if words in (await self.curl(url))[1] else None

        await until(f"{url} is answered with {words}", so, patience=20)

    async def allow(self, service: str, action: Action = Action.ALLOW) -> None:
        """Let ``web`` call ``service``."""
        async with self.estate.client() as client:
            await client.intentions.put(Intention("web", service, action))

    @asynccontextmanager
    async def connected(
        self, url: str, words: str
    ) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
        """Connect as the application as soon as the first line is ``words``; then say things."""
        found: list[asyncio.subprocess.Process] = []

        async def so() -> bool | None:
            process = await self._start("curl", "-sSN", url, stdin=asyncio.subprocess.PIPE)
            assert process.stdout is not None
            if (await process.stdout.readline()).decode().strip() == words:
                found.append(process)
                return True
            await process.communicate(b"")
            return None

        await until(f"{url} says {words}", so, patience=20)
        (process,) = found
        assert process.stdout is not None
        assert process.stdin is not None
        try:
            yield process.stdout, process.stdin
        finally:
            process.kill()
            await process.communicate()

    async def _run(self, *command: str) -> tuple[int, str]:
        process = await self._start(*command)
        output, _ = await process.communicate()
        return process.returncode or 0, output.decode()

    async def asked(self, statement: str) -> tuple[int, str]:
        """Ask the database behind ``sql.mesh`` as an ordinary client does."""
        client = (realpostgres.program("psql"), "-h", "sql.mesh", "-U", realpostgres.ROLE)
        return await self._run(*client, "-d", "postgres", "-w", "-At", "-c", statement)

    async def _start(self, *command: str, stdin: int | None = None) -> asyncio.subprocess.Process:
        return await asyncio.create_subprocess_exec(
            *self.network.prefix("a"),
            *realpostgres.as_user(_USER),
            *command,
            stdin=stdin,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )


@contextmanager
def _resolver(namespace: str, address: str) -> Iterator[None]:
    """Have commands in the namespace ask ``address``, where nobody answers, for names."""
    directory = Path("/etc/netns", namespace)
    directory.mkdir(parents=True)
    try:
        (directory / "resolv.conf").write_text(f"nameserver {address}\n")
        yield
    finally:
        shutil.rmtree(directory)


@pytest_asyncio.fixture(scope="module", loop_scope="module", name="bed")
async def _bed(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Bed]:
    directory = tmp_path_factory.mktemp("captured")
    async with AsyncExitStack() as stack:
        network = await stack.enter_async_context(Network(["a"]))
        namespace = network.namespace("a")
        stack.enter_context(_resolver(namespace, network.address("a", 53)))
        await ip(
            "route add default dev outside",
            f"address add {_OUTSIDE[0]} dev outside nodad",
            f"route add {_OUTSIDE[1]} dev outside",
            namespace=namespace,
        )
        table = replacement(plan(_SETTINGS, _accounts))
        await run(*network.prefix("a"), "nft", "-f", "-", text=table)
        estate = Estate(directory, host=network.host("a"))
        await stack.enter_async_context(estate)
        await estate.start_zone()
        async with estate.client() as client:
            await client.config_put({"Kind": "service-defaults", "Name": "api", "Protocol": "http"})
        for name, protocol in (("api", "http"), ("db", "tcp")):
            running = await stack.enter_async_context(
                application(estate, "a", f"{name}-1", protocol=protocol)
            )
            await estate.start_proxy(name, app_port=running.port, instance=f"{name}-1")
        (port,) = estate.host.free_ports(1)
        host = estate.host
        await stack.enter_async_context(realpostgres.running(host.prefix, host.address, port))
        await estate.start_proxy("sql", app_port=port, instance="sql-1")
        await estate.start_proxy(
            "web",
            app_port=1,
            settings={
                "health": {"kind": "none"},
                "capture": f"127.0.0.1:{_CAPTURE}",
                "dns": f"127.0.0.1:{_NAMES}",
            },
        )
        await estate.ready()
        bed = Bed(network, estate)

        async def named() -> bool | None:
            told = [await bed.told(f"{name}.mesh") for name in ("api", "db", "sql")]
            return True if all(told) else None

        await until("all services have names", named, patience=20)
        yield bed


async def test_a_service_is_told_by_name_and_nobody_else(bed: Bed) -> None:
    (address,) = await bed.told("api.mesh")
    assert ipaddress.ip_address(address) in vips.IPV4
    assert await bed.told("api.dc1.mesh") == [address]
    assert await bed.told("api.MESH") == []
    assert await bed.told("nobody.mesh") == []
    assert await bed.told("db.mesh") not in ([], [address])


async def test_a_call_that_nobody_allowed_is_told_so(bed: Bed) -> None:
    await bed.allow("api", Action.DENY)
    await bed.answered("http://api.mesh/", "web may not call api.mesh")
    status = await bed.curl("http://api.mesh/", "-o", "/dev/null", "-w", "%{http_code}")
    assert status == (0, "403")
    # What is no HTTP ends at once.
    assert await bed.curl("telnet://db.mesh:5432") == (0, "")


async def test_an_intention_lets_calls_through_at_any_port_and_by_both_families(bed: Bed) -> None:
    await bed.allow("api")
    await bed.answered("http://api.mesh/", "api-1")
    for more in (("http://api.mesh:8123/",), ("http://api.mesh/", "-6")):
        code, answer = await bed.curl(*more)
        assert (code, json.loads(answer)["instance"]) == (0, "api-1"), more


async def test_a_connection_outlives_what_becomes_of_others(bed: Bed) -> None:
    await bed.allow("db")
    async with bed.connected("telnet://db.mesh:5432", "a db-1") as (reader, writer):
        for action, words in (
            (Action.DENY, "may not call"),
            (Action.ALLOW, "api-1"),
            (Action.DENY, "may not call"),
        ):
            await bed.allow("api", action)
            await bed.answered("http://api.mesh/", words)
            writer.write(b"still there\n")
            assert await asyncio.wait_for(reader.readline(), 5) == b"still there\n"


async def test_a_database_is_called_by_its_own_client(bed: Bed) -> None:
    code, output = await bed.asked("select 6 * 7")
    assert (code, "server closed the connection" in output) == (2, True)
    await bed.allow("sql")

    async def answered() -> bool | None:
        return True if await bed.asked("select 6 * 7") == (0, "42\n") else None

    await until("the database answers", answered, patience=20)


async def test_an_external_service_has_a_name_too(bed: Bed) -> None:
    async with application(bed.estate, "outside", "shop") as running:
        document = {
            "type": "MeshExternalService",
            "name": "shop",
            "spec": {
                "match": {"protocol": "http"},
                "endpoints": [{"address": running.address, "port": running.port}],
            },
        }
        file = bed.estate.directory / "shop.yaml"
        file.write_text(json.dumps(document))
        await bed.estate.mesh(["apply", "-f", str(file)])
        await bed.answered("http://shop.mesh/", "web may not call shop.mesh")
        await bed.allow("shop")
        await bed.answered("http://shop.mesh/", "outside")


async def test_what_is_virtual_and_nobodys_goes_nowhere(bed: Bed) -> None:
    assert "no service has this address" in (await bed.curl("http://240.9.9.9/"))[1]
    assert await bed.curl("telnet://240.9.9.9:5432") == (0, "")
