"""Calls to another zone by our own egress gateways: two federated Consul 1.8.7, no decryption.

``web`` of dc1 calls ``api`` of dc2: web's Envoy, an egress gateway of dc1, the zone gateway of dc2,
api's Envoy.
"""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Final

import aiohttp
import pytest
import pytest_asyncio
from cryptography import x509

from mesh.clients.consul import ConsulClient
from mesh.clients.consul.policies import Policies
from mesh.clients.consul.policy_records import puts
from mesh.demo.estate import HOST, Estate, free_ports
from mesh.model.intentions import Action, Intention
from mesh.model.names import ZONE_EGRESS
from mesh.model.proxies import Role
from mesh.policies.document import parse
from mesh.policies.registry import KINDS
from tests.realconsul import RealConsul
from tests.traffic.applications import Application, http
from tests.traffic.gateways import Gateway, killed_under_load, start_gateway
from tests.traffic.waiting import until

# All of them: each goes on where the one before ended, and one is a matter of time.
pytestmark = [
    pytest.mark.e2e,
    pytest.mark.alone,
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.timeout(180),
]

_UPSTREAM: Final = "api.dc2"
_NAME: Final = "api.default.dc2.internal.demo.mesh"
_CALLER: Final = "spiffe://demo.mesh/ns/default/dc/dc1/svc/web"
_CALLEE: Final = "spiffe://demo.mesh/ns/default/dc/dc2/svc/api"
_PARSED: Final = {
    "type": "MeshTimeout",
    "name": "parsed",
    "spec": {
        "targetRef": {"kind": "Dataplane", "labels": {"service": "api"}},
        "rules": [{"default": {"http": {"requestTimeout": "9s"}}}],
    },
}
"""Has the callee look at requests, and so tell its application who calls."""


@dataclass(slots=True)
class Zones:
    """Two zones, one caller."""

    here: Estate
    stack: AsyncExitStack
    consul: ConsulClient
    session: aiohttp.ClientSession
    egress: dict[str, Gateway]

    @property
    def url(self) -> str:
        """Where ``web``'s application calls ``api``."""
        return f"http://{HOST}:{self.here.services['web'].upstreams[_UPSTREAM]}/"

    async def answered(self, status: int) -> str:
        """Call until the answer has ``status``; return its body."""

        async def ask() -> str | None:
            async with self.session.get(self.url) as answer:
                text = await answer.text()
                return text if answer.status == status else None

        return await until(f"api answers {status}", ask, patience=60)

    async def mode(self, mode: str) -> None:
        """Say by whose gateways calls to other zones go."""
        entry = {"Kind": "proxy-defaults", "Name": "global", "MeshGateway": {"Mode": mode}}
        await self.consul.config_put(entry)

    async def start(self, name: str) -> None:
        """Start an egress gateway."""
        self.egress[name] = await start_gateway(self.stack, self.here, Role.EGRESS, name)
        await self.egress[name].ready()


def _federated(wan: int, other: int) -> dict[str, object]:
    return {
        "primary_datacenter": "dc1",
        "ports": {"serf_wan": wan},
        "retry_join_wan": [f"{HOST}:{other}"],
        "retry_interval_wan": "1s",
    }


@pytest_asyncio.fixture(scope="module", loop_scope="module", name="zones")
async def _zones(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Zones]:
    home = tmp_path_factory.mktemp("egress-zones")
    first, second, api_port, web_port = free_ports(4)
    async with AsyncExitStack() as stack:
        one = await stack.enter_async_context(
            RealConsul(home, datacenter="dc1", config=_federated(first, second))
        )
        two = await stack.enter_async_context(
            RealConsul(home, datacenter="dc2", config=_federated(second, first))
        )
        here = await stack.enter_async_context(Estate(home / "dc1", consul=one.url))
        there = await stack.enter_async_context(Estate(home / "dc2", consul=two.url))
        await asyncio.gather(here.start_zone(), there.start_zone())
        consul = await stack.enter_async_context(here.client())
        consul_there = await stack.enter_async_context(there.client())
        await stack.enter_async_context(http(Application("api-1", api_port)))
        await consul.config_put({"Kind": "service-defaults", "Name": "api", "Protocol": "http"})
        parsed = parse(_PARSED, KINDS).raw
        store = Policies(consul_there)
        await store.commit([*puts(await store.read("default"), [parsed])])
        zones = Zones(
            here, stack, consul, await stack.enter_async_context(aiohttp.ClientSession()), {}
        )
        await zones.mode("local")
        await there.start_proxy("api", app_port=api_port)
        await start_gateway(stack, there, Role.ZONE_GATEWAY, "ingress-1")
        await there.ready()

        async def known() -> bool | None:
            found = (await consul.kv_get("mesh/federation/dc2")).value
            return (found is not None and b'"api"' in found.data) or None

        await until("dc1 knows what dc2 lets be called", known, patience=60)
        await here.start_proxy(
            "web", app_port=web_port, upstreams=[_UPSTREAM], settings={"health": {"kind": "none"}}
        )
        await here.ready()
        yield zones


async def test_without_an_egress_gateway_nobody_leaves(zones: Zones) -> None:
    await zones.answered(503)
    text = await zones.here.mesh(["explain", "web", "api"])
    assert f"leaves by egress for {_NAME}, judged by the proxy of api in zone dc2" in text
    assert "closed: no egress gateway answers in zone dc1" in text


async def test_calls_go_through_and_the_callee_sees_the_caller(zones: Zones) -> None:
    await zones.start("egress-1")
    await zones.start("egress-2")
    answer = json.loads(await zones.answered(200))
    assert _CALLER in answer["headers"]["x-forwarded-client-cert"]
    assert "mesh-egress" not in answer["headers"]["x-forwarded-client-cert"]


async def test_what_the_gateway_shows_is_the_callees_certificate(zones: Zones) -> None:
    gateway = zones.egress["egress-1"]
    own = x509.load_pem_x509_certificate((gateway.state / "svid.pem").read_bytes())
    assert _uri(own) == f"spiffe://demo.mesh/ns/default/dc/dc1/svc/{ZONE_EGRESS}"

    state = zones.here.services["web"].state
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.load_cert_chain(state / "svid.pem", state / "svid.key")
    _, writer = await asyncio.open_connection(
        HOST, gateway.port, ssl=context, server_hostname=_NAME
    )
    shown = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
    writer.close()
    assert _uri(x509.load_der_x509_certificate(shown)) == _CALLEE
    said = json.loads(
        await zones.here.mesh(
            ["config", "listeners", "--proxy", "mesh-egress/egress-1", "-o", "json"]
        )
    )
    chains = [chain for each in said for chain in each["content"].get("filter_chains", [])]
    # Of other zones it has chains without TLS of their own.
    (beyond,) = [chain for chain in chains if chain["name"] == "zone:dc2"]
    assert beyond["filter_chain_match"]["server_names"] == [_NAME.replace("api", "*", 1)]
    assert "transport_socket" not in beyond


def _uri(certificate: x509.Certificate) -> str:
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    (uri,) = names.get_values_for_type(x509.UniformResourceIdentifier)
    return str(uri)


async def test_an_intention_ends_it_and_lets_it_again(zones: Zones) -> None:
    await zones.consul.intentions.put(Intention("web", "api", Action.DENY))
    assert "web may not call api" in await zones.answered(403)
    await zones.consul.intentions.put(Intention("web", "api", Action.ALLOW))
    await zones.answered(200)


async def test_a_gateway_is_killed_under_load(zones: Zones) -> None:
    await zones.answered(200)
    later = await killed_under_load(zones.url, zones.egress.pop("egress-1"))
    assert later.failed == 0, str(later)


async def test_without_the_mode_they_go_straight_to_the_other_zone(zones: Zones) -> None:
    await zones.egress.pop("egress-2").kill()
    await zones.answered(503)
    await zones.mode("remote")
    await zones.answered(200)
