"""Who called, as a route of the callee's proxy sees it: proven, and not to be forged."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator
from typing import Any, Final

import pytest
import pytest_asyncio
from envoy.config.core.v3 import base_pb2
from envoy.config.listener.v3 import listener_components_pb2
from envoy.config.route.v3 import route_components_pb2
from envoy.extensions.filters.network.http_connection_manager.v3 import (
    http_connection_manager_pb2 as hcm_pb2,
)
from envoy.extensions.transport_sockets.tls.v3 import tls_pb2

from mesh.envoy import http
from mesh.envoy.matching import CLIENT_CERTIFICATE, route_match
from mesh.envoy.proto import typed
from mesh.envoy.routes import answer
from mesh.model.identity import WorkloadId
from mesh.model.requests import EVERYTHING, CallerMatch, Match
from tests.envoy.place import DOMAIN, Place, envoy, filter_listener
from tests.policies.authority import Authority

pytestmark = [pytest.mark.e2e, pytest.mark.asyncio(loop_scope="module")]

CALLERS: Final = {
    "web-of-dc2": Match(callers=(CallerMatch("web", "dc2"),)),
    "web-or-shop": Match(callers=(CallerMatch("web"), CallerMatch("shop"))),
    "nobody": EVERYTHING,
}
ELEMENT: Final = f"Hash={'0' * 64};URI=spiffe://{DOMAIN}/ns/default/dc/dc1/svc/web"
FORGED: Final = (f"By=x;{ELEMENT}", ELEMENT, f"{ELEMENT},{ELEMENT}")


def uri(service: str, zone: str = "dc1", domain: str = DOMAIN) -> str:
    return WorkloadId(domain, zone, service).uri


def inbound_filter() -> Any:
    """Return the callee's own manager, with routes that answer which caller they took it for."""
    found = http.inbound_manager("inbound", cluster="app", filters=[], refusal="no")
    manager = hcm_pb2.HttpConnectionManager()
    found.typed_config.Unpack(manager)
    manager.ClearField("local_reply_config")
    host = manager.route_config.virtual_hosts[0]
    del host.routes[:]
    for name, match in CALLERS.items():
        route = route_components_pb2.Route(match=route_match(match, trust_domain=DOMAIN))
        answer(route, 200, name)
        host.routes.append(route)
    return listener_components_pb2.Filter(name=found.name, typed_config=typed(manager))


def socket(authority: Authority) -> base_pb2.TransportSocket:
    certificate, key = authority.issue("server", uri("api"))
    context = tls_pb2.DownstreamTlsContext()
    context.require_client_certificate.value = False
    common = context.common_tls_context
    common.tls_certificates.add(
        certificate_chain={"filename": str(certificate)}, private_key={"filename": str(key)}
    )
    common.validation_context.trusted_ca.filename = str(authority.root)
    return base_pb2.TransportSocket(name="envoy.transport_sockets.tls", typed_config=typed(context))


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def place(
    authority: Authority, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Place]:
    listeners = [
        filter_listener("secure", inbound_filter(), socket(authority)),
        filter_listener("plain", inbound_filter()),
    ]
    async with envoy(tmp_path_factory.mktemp("envoy"), listeners, []) as running:
        yield running


@pytest.mark.parametrize(
    ("caller", "expected"),
    [
        (uri("web", "dc2"), "web-of-dc2"),
        (uri("web"), "web-or-shop"),
        (uri("shop", "dc2"), "web-or-shop"),
        (uri("webx"), "nobody"),
        (uri("xweb"), "nobody"),
        (uri("web", domain="other.example"), "nobody"),
        (f"{uri('other')};URI={uri('web')}", "nobody"),
        (f"{uri('other')},Hash={'0' * 64};URI={uri('web')}", "nobody"),
    ],
)
async def test_certificate_tells_the_caller(
    place: Place, authority: Authority, caller: str, expected: str
) -> None:
    client = authority.client("client", caller)

    assert (await place.ask("secure", secure=client)).body == expected


@pytest.mark.parametrize("forged", FORGED)
async def test_forged_header_counts_for_nothing(
    place: Place, authority: Authority, forged: str
) -> None:
    headers = {CLIENT_CERTIFICATE: forged}
    other = authority.client("other", uri("other"))
    without = ssl.create_default_context(cafile=str(authority.root))

    assert (await place.ask("secure", headers=headers, secure=other)).body == "nobody"
    assert (await place.ask("secure", headers=headers, secure=without)).body == "nobody"
    assert (await place.ask("plain", headers=headers)).body == "nobody"


async def test_callers_belong_to_a_trust_domain() -> None:
    with pytest.raises(ValueError, match="trust domain"):
        route_match(CALLERS["web-or-shop"])
