"""Which calls leave by egress gateways; whose word counts about it, held against a real Consul."""

from __future__ import annotations

import http.client
import itertools
import json
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest

from mesh.model.destinations import Destination, Selection, Target
from mesh.model.entries import (
    Entries,
    GatewayMode,
    LinkedService,
    ProxyDefaults,
    ServiceDefaults,
    UpstreamDefaults,
)
from mesh.model.names import ZONE_EGRESS
from mesh.model.services import Instance, Protocol
from mesh.model.zones import Exported, Gateway, Zone
from mesh.policies.document import parse
from mesh.policies.registry import KINDS
from mesh.policies.selection import NOTHING_SELECTED
from mesh.routing.egress import gateway_mode
from mesh.routing.exports import exported
from mesh.routing.instances import selected
from mesh.routing.outbound import compile_traffic
from mesh.world.snapshot import World
from tests.realconsul import RealConsul

LOCAL, REMOTE, UNSAID = GatewayMode.LOCAL, GatewayMode.REMOTE, GatewayMode.UNSAID
EGRESS = Instance("egress-1", "n1", "10.0.0.9", 10002)
WEST = Zone(
    "west", "mesh.test", "PEM", (Gateway("10.9.0.1", 10001),), {"api": Exported(Protocol.HTTP, 1)}
)


def world(entries: Entries, **more: Any) -> World:
    return World(
        "here",
        "mesh.test",
        entries=entries,
        zones={"west": WEST},
        instances={ZONE_EGRESS: (EGRESS,), "api": ()},
        **more,
    )


def only(found: World, called: str) -> Destination:
    traffic = compile_traffic(found, NOTHING_SELECTED, "web", called).traffic
    (destination,) = traffic.destinations.values()
    return destination


def speaking_http(gateway: GatewayMode = UNSAID, **more: Any) -> ServiceDefaults:
    return ServiceDefaults("api", Protocol.HTTP, gateway=gateway, **more)


def test_the_caller_speaks_before_proxy_defaults_and_these_before_the_callee() -> None:
    web = ServiceDefaults("web")
    by_all = ServiceDefaults("web", upstream=UpstreamDefaults(gateway=REMOTE), gateway=LOCAL)
    by_name = ServiceDefaults(
        "web",
        upstream=UpstreamDefaults(gateway=REMOTE),
        upstreams={"api": UpstreamDefaults(gateway=LOCAL)},
    )
    for caller, proxies, callee, expected in (
        (web, UNSAID, UNSAID, UNSAID),
        (web, UNSAID, LOCAL, LOCAL),
        (web, REMOTE, LOCAL, REMOTE),
        (by_all, LOCAL, LOCAL, REMOTE),
        (by_name, REMOTE, REMOTE, LOCAL),
    ):
        entries = Entries(
            {"web": caller, "api": speaking_http(callee)}, ProxyDefaults(gateway=proxies)
        )
        assert gateway_mode(entries, "web", "api") is expected


@pytest.fixture(scope="module", name="consul")
def _consul(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealConsul]:
    with RealConsul(tmp_path_factory.mktemp("consul")) as found:
        yield found


def test_without_a_word_of_the_caller_it_is_as_consul_compiles_it(consul: RealConsul) -> None:
    def ask(method: str, path: str, body: object) -> Any:
        with closing(http.client.HTTPConnection("127.0.0.1", consul.port, timeout=10)) as dialled:
            dialled.request(method, path, json.dumps(body))
            return json.loads(dialled.getresponse().read())

    redirect = {"Kind": "service-resolver", "Name": "api", "Redirect": {"Datacenter": "west"}}
    ask("PUT", "/v1/config", redirect)
    modes = ("", "none", "local", "remote")
    # The agent lays what the caller's side says over it, proxy-defaults with that.
    for said, override in itertools.product(modes, modes):
        defaults = {"Kind": "service-defaults", "Name": "api", "MeshGateway": {"Mode": said}}
        ask("PUT", "/v1/config", defaults)
        asked = {"OverrideMeshGateway": {"Mode": override}}
        chain = ask("POST", "/v1/discovery-chain/api", asked)["Chain"]
        (target,) = chain["Targets"].values()
        entries = Entries(
            {"api": speaking_http(GatewayMode(said))}, ProxyDefaults(gateway=GatewayMode(override))
        )
        assert target["MeshGateway"].get("Mode", "") == gateway_mode(entries, "web", "api")


def test_another_zone_is_dialled_by_our_own_gateways() -> None:
    found = world(Entries({"api": speaking_http(LOCAL)}))
    destination = only(found, "api@west")
    assert destination.selection == Selection(Target("api", zone="west"), by_egress=True)
    assert destination.services == (ZONE_EGRESS,)
    assert selected(found, destination.selection) == (EGRESS,)


def test_nobody_answers_there_nobody_is_dialled() -> None:
    found = world(Entries({"api": speaking_http(LOCAL)}))
    silent = Selection(Target("api", "v9", "west"), by_egress=True)
    assert selected(found, silent) == ()


def test_straight_to_the_other_zone_otherwise() -> None:
    found = world(Entries({"api": speaking_http(REMOTE)}))
    destination = only(found, "api@west")
    assert not destination.selection.by_egress
    assert [one.address for one in selected(found, destination.selection)] == ["10.9.0.1"]


def test_zones_that_stand_in_do_so_by_our_own_gateways() -> None:
    destination = only(world(Entries({"api": speaking_http(LOCAL)})), "api")
    assert not destination.selection.by_egress
    (west,) = destination.failover
    assert west.by_egress
    assert destination.services == ("api", ZONE_EGRESS)


def test_a_linked_service_leaves_and_is_nobodys_to_export() -> None:
    entries = Entries(
        {"legacy": ServiceDefaults("legacy")}, linked={"legacy": LinkedService("legacy")}
    )
    found = world(entries, catalog=frozenset({"legacy", "api", ZONE_EGRESS}))
    destination = only(found, "legacy")
    assert destination.selection.is_outside
    assert (destination.external, destination.failover) == (None, ())
    assert destination.services == (ZONE_EGRESS,)
    assert exported(found) == {"api"}


def test_an_external_service_leaves_if_its_policy_says_so() -> None:
    raw = {
        "type": "MeshExternalService",
        "name": "pay",
        "spec": {"endpoints": [{"address": "pay.example", "port": 443}], "egress": True},
    }
    for leaves in (True, False):
        raw["spec"]["egress"] = leaves  # type: ignore[index]
        document = parse(raw, KINDS)
        # A policy speaks before an entry.
        entries = Entries(linked={"pay": LinkedService("pay")})
        destination = only(world(entries, policies={document.key: document}), "pay")
        assert destination.selection.is_outside is leaves
        assert (destination.external is None) is leaves
