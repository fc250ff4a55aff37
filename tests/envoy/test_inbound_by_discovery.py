"""The callee's filters, routes and listener as a zone sends them to a real Envoy."""

from __future__ import annotations

import asyncio
import re
import ssl
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from mesh.demo.loopback import free_ports
from mesh.envoy import (
    cluster,
    connections,
    http,
    inbound_http,
    listener,
    rbac,
    tls,
)
from mesh.envoy.resource import (
    CLUSTER,
    EXTENSION,
    LISTENER,
    ROUTE,
    SECRET,
    Snapshot,
    pack,
)
from mesh.model.destinations import Limits as Thresholds
from mesh.model.inbound import (
    Abort,
    ExternalAuthorization,
    FailureMode,
    Fault,
    GlobalLimit,
    InboundRoute,
    InboundTraffic,
    LocalLimit,
    TokenBucket,
)
from mesh.model.requests import CallerMatch, Match
from mesh.model.services import Protocol
from tests.envoy.backends import Application, http_server
from tests.envoy.callee import types
from tests.waiting import until
from tests.xds.conftest import DOMAIN, Zone
from tests.xds.following import following
from tests.xds.pki import Authority, Files

pytestmark = pytest.mark.e2e

_GATE = "inbound-requests"
_REFUSALS = (("rbac_access_denied", "%RESPONSE_CODE_DETAILS%: no intention\n"),)


@dataclass
class Proxy:
    """A running Envoy that follows the zone, and a caller with a certificate."""

    zone: Zone
    state: Path
    port: int
    application: int
    session: aiohttp.ClientSession

    def publish(self, *routes: InboundRoute, allowed: str = "/", **more: Any) -> None:
        """Give Envoy what ``routes`` make."""
        self.zone.book.snapshot = made = self._snapshot(
            InboundTraffic(routes=(*routes, InboundRoute()), **more), allowed
        )
        self.zone.server.publish(dict.fromkeys(self.zone.book.sessions, made))

    async def answers(self, *expected: int) -> None:
        """Wait until equal requests are answered so, one after the other."""
        for _ in range(1000):
            found = await self._statuses(len(expected))
            if found == list(expected):
                return
            await asyncio.sleep(0.02)
        raise AssertionError(f"last answers: {found}")

    async def text(self, path: str) -> str:
        """Return the body of an answer."""
        async with self.session.get(f"https://127.0.0.1:{self.port}{path}") as response:
            return await response.text()

    async def listeners_changed(self) -> int:
        """Return how often a listener was changed."""
        connector = aiohttp.UnixConnector(path=str(self.state / "envoy.sock"))
        async with (
            aiohttp.ClientSession(connector=connector) as session,
            session.get("http://envoy/stats?filter=^listener_manager.listener_modified$") as answer,
        ):
            found = re.search(r": (\d+)", await answer.text())
        return int(found.group(1)) if found else 0

    async def _statuses(self, times: int) -> list[int]:
        found = []
        for _ in range(times):
            try:
                async with self.session.get(f"https://127.0.0.1:{self.port}/") as response:
                    found.append(response.status)
            except aiohttp.ClientError:
                found.append(0)
        return found

    def _snapshot(self, inbound: InboundTraffic, allowed: str) -> Snapshot:
        named = inbound_http.filters(inbound.routes)
        gate = rbac.http_filter("intentions", _only(allowed))
        manager = http.inbound_manager_by_routes(
            "inbound",
            gates=types([(_GATE, gate)]),
            filters=types(named),
            refusals=_REFUSALS,
        )
        limited = tuple(connections.filters(inbound))
        built = listener.listener(
            "inbound",
            address="127.0.0.1",
            port=self.port,
            filters=[
                *(listener.discovered_filter(name, url) for name, url in types(limited)),
                manager,
            ],
            direction=listener.TrafficDirection.INBOUND,
            transport=tls.downstream(peers_secret="inbound-peers"),
        )
        table = inbound_http.route_table(
            "inbound", inbound.routes, cluster="app", trust_domain=DOMAIN
        )
        peers = tls.peers("inbound-peers", identity_regex=rbac.workloads(DOMAIN))
        application = cluster.of_address(
            "app", address="127.0.0.1", port=self.application, protocol=Protocol.HTTP
        )
        extensions = [(_GATE, gate), *named, *limited]
        return {
            SECRET: (pack("inbound-peers", peers),),
            CLUSTER: (pack("app", application),),
            LISTENER: (pack("inbound", built),),
            ROUTE: (pack("inbound", table),),
            EXTENSION: tuple(
                pack(name, listener.extension(name, config)) for name, config in sorted(extensions)
            ),
        }


@pytest.fixture
def state(tmp_path: Path) -> Path:
    return tmp_path


@pytest.fixture
async def proxy(
    zone: Zone,
    web: Files,
    authority: Authority,
    state: Path,
) -> AsyncIterator[Proxy]:
    context = authority.client_context(web)
    context.set_alpn_protocols(["http/1.1"])
    context.check_hostname = False
    with http_server(Application) as application:
        async with _session(context) as session:
            running = Proxy(zone, state, free_ports(1)[0], application, session)
            running.publish()
            async with following(zone, web, authority, state):
                yield running


def _session(context: ssl.SSLContext) -> aiohttp.ClientSession:
    connector = aiohttp.TCPConnector(ssl=context, force_close=True)
    return aiohttp.ClientSession(connector=connector)


def _only(path: str) -> Any:
    permission = rbac.anything()
    permission.Clear()
    permission.url_path.path.prefix = path
    callers = rbac.identified(rbac.workloads(DOMAIN))
    return rbac.rules({"some": rbac.policy(callers, [permission])}, default_allow=False)


async def test_a_changed_route_changes_no_listener(proxy: Proxy) -> None:
    limit = InboundRoute(limit=LocalLimit(TokenBucket(2, 1000)))
    proxy.publish(limit)
    await proxy.answers(429)
    before = await proxy.listeners_changed()
    proxy.publish(InboundRoute(limit=LocalLimit(TokenBucket(1, 1000), status=503)))
    await proxy.answers(503, 503)
    # A route for another caller: nothing is left of the limit here, the filter stays.
    proxy.publish(
        InboundRoute(
            match=Match(callers=(CallerMatch("db"),)),
            limit=LocalLimit(TokenBucket(1, 1000)),
        )
    )
    await proxy.answers(200, 200, 200)
    assert await proxy.listeners_changed() == before
    assert not proxy.zone.counts.nacked


@pytest.mark.parametrize("kind", ["authorization", "global_limits"])
async def test_a_changed_filter_changes_no_listener(proxy: Proxy, kind: str) -> None:
    def asking(failure: FailureMode) -> InboundRoute:
        # Nobody of this name is there at all.
        if kind == "authorization":
            return InboundRoute(authorization=ExternalAuthorization("nobody", failure=failure))
        limit = GlobalLimit("nobody", "api", (("policy", "p"),), 1, "day", failure)
        return InboundRoute(global_limits=(limit,))

    proxy.publish(asking(FailureMode.CLOSED))
    await proxy.answers(503)
    before = await proxy.listeners_changed()
    proxy.publish(asking(FailureMode.OPEN))
    await proxy.answers(200)
    assert await proxy.listeners_changed() == before
    assert not proxy.zone.counts.nacked


async def test_filters_come_and_go(proxy: Proxy) -> None:
    await proxy.answers(200)
    proxy.publish(
        InboundRoute(fault=Fault(abort=Abort(100, 418))), limits=Thresholds(connections=10)
    )
    await proxy.answers(418)
    assert await proxy.listeners_changed() > 0
    proxy.publish()
    await proxy.answers(200)
    await until(lambda: all(one.in_sync for one in proxy.zone.server.proxies()))
    assert not proxy.zone.counts.nacked


async def test_intentions_are_asked_first(proxy: Proxy) -> None:
    proxy.publish(InboundRoute(fault=Fault(abort=Abort(100, 418))), allowed="/good")
    await proxy.answers(403)
    assert await proxy.text("/") == "rbac_access_denied_matched_policy[none]: no intention\n"
    assert await proxy.text("/good") == "fault filter abort"
