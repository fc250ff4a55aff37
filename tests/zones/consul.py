"""A real Consul server per zone, federated over the zones' links; each can be ended or frozen."""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from http import HTTPStatus
from pathlib import Path
from typing import Any, Final

import aiohttp

from mesh.clients.consul import ConsulAddress, ConsulClient
from mesh.demo.hosts import Host
from mesh.demo.processes import Child, start
from mesh.demo.servers import start_consul
from mesh.model.intentions import Action, Intention
from tests import realconsul
from tests.traffic.waiting import until

PORTS: Final = {"http": 8500, "server": 8300, "serf_lan": 8301, "serf_wan": 8302}
"""The usual ones, for every server has an address of its own."""
_ENVIRONMENT: Final = {"PATH": os.getenv("PATH", os.defpath)}
_PATIENCE: Final = 30.0
_PROBE: Final = "bed-probe"


@dataclass(slots=True)
class Consul:
    """The server of one zone.  ``settings`` are laid over those that make the federation.

    ``token`` may do everything, where ACLs are on.
    """

    zone: str
    primary: str
    host: Host
    home: Path
    peers: Sequence[str]
    session: aiohttp.ClientSession
    settings: Mapping[str, Any] = field(default_factory=dict)
    token: str = field(default="", repr=False)
    child: Child | None = None

    @property
    def pid(self) -> int:
        """Its process."""
        return self._running.pid

    @property
    def url(self) -> str:
        """Its HTTP API."""
        return f"http://{self.host.at(PORTS['http'])}"

    @property
    def address(self) -> ConsulAddress:
        """What a client is given."""
        return ConsulAddress(url=self.url, token=self.token)

    async def start(self) -> None:
        """Start it, on the state that there is, and wait until it leads its zone."""
        self.home.mkdir(parents=True, exist_ok=True)
        settings = {
            "datacenter": self.zone,
            "primary_datacenter": self.primary,
            "node_name": f"{self.zone}-server",
            "retry_join_wan": list(self.peers),
            "retry_interval_wan": "1s",
            "log_level": "INFO",
            "limits": {"http_max_conns_per_client": 10_000},
            "ports": PORTS,
            **self.settings,
        }
        binary = str(realconsul.binary())
        await start_consul(self._start, binary, self.home, host=self.host, settings=settings)

    async def kill(self) -> None:
        """Kill it; its state stays."""
        await self._running.kill()

    def freeze(self) -> None:
        """Let it answer nothing, with every connection open."""
        self._running.freeze()

    def thaw(self) -> None:
        """Let it go on."""
        self._running.thaw()

    async def restart(self) -> None:
        """Kill it and start it again on its state."""
        await self.kill()
        await self.start()

    async def wipe(self) -> None:
        """Kill it and start it again with nothing in it.

        Where it is the primary's, the others go on waiting for the index that they had come to,
        and follow it again only once they are restarted, too (or minutes later).
        """
        await self.kill()
        shutil.rmtree(self.home / "data")
        await self.start()

    async def stop(self) -> None:
        """End it, if it was ever started."""
        if self.child is not None:
            await self.child.stop()

    async def join(self) -> None:
        """Join the others again at once: left alone, servers that were long apart take a minute."""
        for peer in self.peers:
            await self.put(f"agent/join/{peer}?wan=1")

    async def get(self, path: str, *, zone: str = "", patience: float = 5.0) -> Any:
        """Return what it answers, of ``zone`` if another's state is asked for; None if it can not.

        ``path`` is what follows ``/v1/``.
        """
        timeout = aiohttp.ClientTimeout(total=patience)
        params = {"dc": zone} if zone else {}
        try:
            async with self.session.get(
                f"{self.url}/v1/{path}", params=params, timeout=timeout, headers=self._headers
            ) as answer:
                return await answer.json() if answer.status == HTTPStatus.OK else None
        except (aiohttp.ClientError, TimeoutError):
            return None

    async def put(self, path: str, body: Any = None) -> None:
        """Write; an answer other than 200 is an error."""
        async with self.session.put(
            f"{self.url}/v1/{path}", json=body, headers=self._headers
        ) as answer:
            assert answer.ok, f"{path} in {self.zone}: {answer.status} {await answer.text()}"

    async def intentions(self) -> set[tuple[str, str]]:
        """Return between whom it knows intentions: sources and destinations."""
        listed = await self.get("connect/intentions") or ()
        return {(each["SourceName"], each["DestinationName"]) for each in listed}

    @property
    def _headers(self) -> dict[str, str]:
        return {"X-Consul-Token": self.token} if self.token else {}

    @property
    def _running(self) -> Child:
        assert self.child is not None, f"the Consul of {self.zone} was not started"
        return self.child

    async def _start(self, name: str, command: Sequence[str], extra: Mapping[str, str]) -> Child:
        self.child = await start(
            name,
            [*self.host.prefix, *command],
            log=self.home / "log",
            environment={**_ENVIRONMENT, **extra},
        )
        return self.child


async def federated(consuls: Sequence[Consul]) -> None:
    """Wait until each sees all, reads from all, and has what is written in the primary."""
    names = {each.zone for each in consuls}

    async def sees_all(consul: Consul) -> bool | None:
        listed = await consul.get("catalog/datacenters") or ()
        if not names <= set(listed):
            return None
        found = await asyncio.gather(
            *(consul.get("catalog/nodes", zone=zone) for zone in sorted(names))
        )
        return True if all(found) and await consul.get("connect/ca/roots") else None

    await _all(consuls, "sees all others", sees_all)
    (primary,) = (each for each in consuls if each.zone == each.primary)
    async with ConsulClient(primary.address) as client:
        await client.intentions.put(Intention(_PROBE, _PROBE, Action.ALLOW))
        await _all(consuls, "has the primary's intentions", _has_probe)
        await client.intentions.delete(_PROBE, _PROBE)
        await _all(consuls, "forgets what the primary forgot", _has_no_probe)


async def _has_probe(consul: Consul) -> bool | None:
    return True if (_PROBE, _PROBE) in await consul.intentions() else None


async def _has_no_probe(consul: Consul) -> bool | None:
    return None if (_PROBE, _PROBE) in await consul.intentions() else True


async def _all(
    consuls: Sequence[Consul], what: str, ask: Callable[[Consul], Awaitable[bool | None]]
) -> None:
    await asyncio.gather(
        *(
            until(f"the Consul of {each.zone} {what}", partial(ask, each), patience=_PATIENCE)
            for each in consuls
        )
    )
