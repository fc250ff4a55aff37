"""A host's life, on a real zone and real Envoys: off longer than its certificate, and copied."""

from __future__ import annotations

import contextlib
import json
import shutil
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import aiohttp
import jwt
import pytest

from mesh.agent.registration import sidecar_id
from mesh.aio.clock import SystemClock
from mesh.demo.estate import HOST, Estate, Service
from mesh.demo.loopback import free_ports
from mesh.demo.processes import Child, start
from mesh.model.intentions import Action, Intention
from tests.e2e.applications import shop
from tests.waiting import until

pytestmark = pytest.mark.e2e

SHORT = {"ca": {"leaf_ttl": "6s", "intermediate_ttl": "1h"}}


@dataclass
class Hosts:
    """A zone of short certificates, a caller, and ``shop`` on a host that the test handles."""

    estate: Estate
    shop: Service
    caller: Service
    token: Path

    @property
    def config(self) -> Path:
        """The settings of the shop's proxy."""
        return self.estate.directory / "shop.yaml"

    async def call(self) -> int:
        """Call the shop once; 0 is no answer."""
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=2)) as session:
            try:
                url = f"http://{HOST}:{self.caller.upstreams['shop']}/"
                async with session.get(url) as answer:
                    return answer.status
            except (aiohttp.ClientError, TimeoutError):
                return 0

    async def answers(self) -> bool:
        """Whether the shop answers the caller."""
        return await self.call() == 200

    async def power_cut(self) -> None:
        """End the shop's proxy without a word to anybody."""
        await self.estate.kill_proxy(self.shop)

    async def power_on(self, name: str = "again", config: Path | None = None) -> Child:
        """Start the shop's proxy anew, as its service manager does."""
        command = [
            sys.executable,
            "-m",
            "mesh.cli",
            "proxy",
            "--config",
            str(config or self.config),
        ]
        log = self.estate.directory / f"{name}.log"
        return await start(name, command, log=log, environment={"PATH": "/usr/bin:/bin"})

    async def registered(self) -> dict[str, str]:
        """Return the instances of the shop's proxy that the zone knows: id, and address."""
        async with self.estate.client() as consul:
            found = (await consul.health_connect("shop")).value
        return {each.service.id: f"{each.service.address}:{each.service.port}" for each in found}


@contextlib.asynccontextmanager
async def running(tmp_path: Path, zone: dict[str, Any], ttl: str) -> AsyncIterator[Hosts]:
    """Start it all; the shop's join token may wait for ``ttl``."""
    (app,) = free_ports(1)
    async with Estate(tmp_path / "estate", zone_settings=zone) as estate, shop(app):
        await estate.start_zone()
        async with estate.client() as consul:
            await consul.config_put(
                {"Kind": "service-defaults", "Name": "shop", "Protocol": "http"}
            )
            await consul.intentions.put(Intention("caller", "shop", Action.ALLOW))
        token = tmp_path / "short.token"
        asked = ["token", "create", "--service", "shop", "--ttl", ttl, "--out", str(token)]
        await estate.mesh(asked)
        # No id: the agent names the instance.
        given = {"registration": "zone", "join_token_file": str(token), "id": None}
        found = await estate.start_proxy("shop", app_port=app, settings=given)
        caller = await estate.start_proxy(
            "caller",
            app_port=free_ports(1)[0],
            upstreams=["shop"],
            settings={"registration": "none"},
        )
        await estate.ready()
        yield Hosts(estate, found, caller, token)


def svid(state: Path) -> dict[str, Any]:
    about: dict[str, Any] = json.loads((state / "svid.json").read_text())
    return about


def token_end(token: Path) -> float:
    claims = jwt.decode(token.read_text().strip(), options={"verify_signature": False})
    return float(claims["exp"])


@pytest.fixture
async def hosts(tmp_path: Path) -> AsyncIterator[Hosts]:
    async with running(tmp_path, {}, "1h") as found:
        yield found


@pytest.fixture
async def short_lived(tmp_path: Path) -> AsyncIterator[Hosts]:
    """Of which nothing lives longer than seconds: no certificate, no join token."""
    async with running(tmp_path, SHORT, "15s") as found:
        yield found


async def test_a_host_that_was_off_for_longer_than_its_certificate_comes_back_alone(
    short_lived: Hosts,
) -> None:
    hosts = short_lived
    await until(hosts.answers, what="the shop answers")
    (before,) = await hosts.registered()
    await hosts.power_cut()
    last = svid(hosts.shop.state)
    end = max(datetime.fromisoformat(last["not_after"]).timestamp(), token_end(hosts.token))
    clock = SystemClock()
    await until(lambda: clock.now().timestamp() > end, what="certificate and token end")
    child = await hosts.power_on()
    async with contextlib.AsyncExitStack() as stack:
        stack.push_async_callback(child.stop)
        await until(hosts.answers, 40, what="the shop answers again")
        assert svid(hosts.shop.state)["serial"] != last["serial"]
        assert "certificate received" in child.log.read_text()
        assert list(await hosts.registered()) == [before]


async def test_a_copied_machine_does_not_pass_for_its_source(hosts: Hosts, tmp_path: Path) -> None:
    await until(hosts.answers)
    (source,) = (await hosts.registered()).items()
    copy = tmp_path / "copy"
    shutil.copytree(hosts.shop.state, copy, ignore=lambda _, names: sockets(names))
    elsewhere(copy)
    before = contents(copy)
    inbound, ready = free_ports(2)
    settings = json.loads(hosts.config.read_text()) | {
        "state_dir": str(copy),
        "inbound_port": inbound,
        "listen": f"{HOST}:{ready}",
    }
    config = tmp_path / "copy.yaml"
    config.write_text(json.dumps(settings))
    refused = await hosts.power_on("copy", config)
    assert await refused.process.wait() == 2
    assert "was made on another machine than this one" in refused.tail()
    assert "mesh vm join" in refused.tail()
    # It used neither key nor proof, and took nobody out.
    assert contents(copy) == before
    assert (await hosts.registered()).items() == dict([source]).items()
    assert await hosts.answers()

    # With a token of its own it is an instance of its own, and leaves alone when it leaves.
    shutil.rmtree(copy)
    own = tmp_path / "own.token"
    await hosts.estate.mesh(["token", "create", "--service", "shop", "--out", str(own)])
    config.write_text(json.dumps(settings | {"join_token_file": str(own), "id": "shop-copy"}))
    joined = await hosts.power_on("joined", config)
    async with contextlib.AsyncExitStack() as stack:
        stack.push_async_callback(joined.stop)

        async def both() -> bool:
            return set(await hosts.registered()) == {source[0], sidecar_id("shop-copy")}

        await until(both, 40, what="both are registered")
    assert (await hosts.registered()).items() == dict([source]).items()
    assert await hosts.answers()


def sockets(names: list[str]) -> list[str]:
    """Leave out what an image has not: sockets, and the processes of the running machine."""
    return [each for each in names if each.endswith((".sock", ".run", ".lock"))]


def elsewhere(state: Path) -> None:
    """Make a state directory what it is on a machine with another machine-id."""
    record = json.loads((state / "machine.json").read_text())
    record["machine"] |= {"id": "of-the-source", "platform": ""}
    (state / "machine.json").write_text(json.dumps(record))


def contents(state: Path) -> dict[str, bytes]:
    """Return what an agent wrote; its lock and the settings it was given aside."""
    aside = {"agent.json", "agent.lock"}
    files = (each for each in state.iterdir() if each.is_file() and each.name not in aside)
    return {each.name: each.read_bytes() for each in files}
