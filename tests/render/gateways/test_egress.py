"""What an egress gateway is sent, and what a caller is that leaves by it."""

from __future__ import annotations

from typing import Any

import pytest
from envoy.extensions.transport_sockets.tls.v3 import tls_pb2

from mesh.envoy.resource import (
    CLUSTER,
    ENDPOINTS,
    EXTENSION,
    LISTENER,
    SECRET,
    Snapshot,
    unpack,
)
from mesh.model.entries import Entries, LinkedService, ServiceDefaults
from mesh.model.intentions import Action, Intention, PathMatch, PathMatchKind, Permission
from mesh.model.names import OUTSIDE, ZONE_EGRESS
from mesh.model.proxies import Inbound, ProxyNeed, Role, Upstream
from mesh.model.services import Instance, Protocol
from mesh.model.zones import Exported, Gateway, Zone
from mesh.world.changes import (
    Change,
    ConfigEntriesChanged,
    InstancesChanged,
    IntentionsChanged,
    ZonesChanged,
)
from mesh.world.snapshot import World
from tests.render.gateways.moving import Moving, found

NEED = ProxyNeed(ZONE_EGRESS, "here", Inbound("::", 10002, "::1", 10002), role=Role.EGRESS)
WEB = ProxyNeed("web", "here", None, (Upstream("legacy", 9001),))
LEGACY, LEDGER = (f"{name}.default.here.internal.mesh.test" for name in ("legacy", "ledger"))
WEST = Zone(
    "west", "mesh.test", "PEM", (Gateway("10.9.0.1", 10001),), {"api": Exported(Protocol.HTTP, 1)}
)


def linked(*services: LinkedService, protocol: Protocol = Protocol.TCP) -> ConfigEntriesChanged:
    defaults = {one.name: ServiceDefaults(one.name, protocol) for one in services}
    return ConfigEntriesChanged(Entries(defaults, linked={one.name: one for one in services}), {})


def at(service: str, address: str) -> InstancesChanged:
    return InstancesChanged(f"{OUTSIDE}{service}", (Instance(service, "out", address, 443),))


def here(*changes: Change) -> Moving:
    return Moving(World("here", "mesh.test"), *changes)


def chains(snapshot: Snapshot) -> dict[str, Any]:
    (listener,) = snapshot[LISTENER]
    return {chain.name: chain for chain in unpack(listener).filter_chains}


BOTH = (linked(LinkedService("legacy"), LinkedService("ledger")), at("legacy", "x.example"))


def test_each_service_has_a_chain_a_cluster_and_a_gate_of_its_own() -> None:
    zone = here(*BOTH, at("ledger", "192.0.2.1"), ZonesChanged({"west": WEST}))
    snapshot = zone.renderer.connect(1, NEED)
    assert set(chains(snapshot)) == {"zone:west", LEGACY, LEDGER}
    assert set(found(snapshot, CLUSTER)) == {
        "outside:legacy",
        "outside:ledger",
        "api.default.west.internal.mesh.test",
    }
    # Many callers come through one gateway.
    for cluster in found(snapshot, CLUSTER).values():
        (threshold,) = cluster.circuit_breakers.thresholds
        assert threshold.max_connections.value == 2**32 - 1
    # A name is resolved by Envoy; addresses come and go without the cluster.
    assert set(found(snapshot, ENDPOINTS)) == {
        "outside:ledger",
        "api.default.west.internal.mesh.test",
    }
    assert set(found(snapshot, SECRET)) == {"egress-peers:legacy", "egress-peers:ledger"}
    assert set(found(snapshot, EXTENSION)) == {
        "egress-connections:legacy",
        "egress-connections:ledger",
    }
    assert zone.renderer.needed == {"outside:legacy", "outside:ledger"}


def test_what_goes_to_another_zone_has_no_tls_of_ours() -> None:
    zone = here(ZonesChanged({"west": WEST}))
    snapshot = zone.renderer.connect(1, NEED)
    chain = chains(snapshot)["zone:west"]
    assert not chain.HasField("transport_socket")
    (cluster,) = found(snapshot, CLUSTER).values()
    assert not cluster.HasField("transport_socket")


def test_a_grant_changes_a_secret_and_a_filter_and_no_listener() -> None:
    zone = here(*BOTH, at("ledger", "192.0.2.1"))
    before = zone.renderer.connect(1, NEED)
    after = zone.say(IntentionsChanged.of([Intention("web", "legacy", Action.ALLOW)]))[1]
    assert after[LISTENER] is before[LISTENER]
    assert after[CLUSTER] is before[CLUSTER]
    assert "web" in str(found(after, SECRET)["egress-peers:legacy"])
    assert "web" not in str(found(after, SECRET)["egress-peers:ledger"])


def test_a_new_service_leaves_the_chains_of_the_others_as_they_are() -> None:
    zone = here(*BOTH, at("ledger", "192.0.2.1"))
    before = chains(zone.renderer.connect(1, NEED))
    more = linked(LinkedService("legacy"), LinkedService("ledger"), LinkedService("third"))
    # Not before it is known where the catalog has it.
    assert not zone.say(more)
    after = chains(zone.say(at("third", "192.0.2.3"))[1])
    assert {name: after[name] for name in before} == before
    assert len(after) == len(before) + 1


def test_requests_are_parsed_only_where_an_intention_speaks_of_them() -> None:
    zone = here(linked(LinkedService("legacy"), protocol=Protocol.HTTP), at("legacy", "192.0.2.1"))
    before = zone.renderer.connect(1, NEED)
    assert "egress-connections:legacy" in found(before, EXTENSION)
    path = Permission(Action.ALLOW, PathMatch(PathMatchKind.PREFIX, "/v1"))
    only = Intention("web", "legacy", permissions=(path,))
    after = zone.say(IntentionsChanged.of([only]))[1]
    assert set(found(after, EXTENSION)) == {"egress-requests:legacy"}
    names = [one.name for one in chains(after)[LEGACY].filters]
    assert names == ["envoy.filters.network.http_connection_manager"]


def test_files_are_secrets_below_the_gateways_directory() -> None:
    files = LinkedService("legacy", "ca.pem", "tls/c.pem", "tls/c.key", "legacy.example")
    zone = here(linked(files), at("legacy", "192.0.2.1"))
    secrets = found(zone.renderer.connect(1, NEED), SECRET)
    believed = secrets["file:authority:ca.pem"].validation_context
    assert believed.trusted_ca.filename == "outside/ca.pem"
    shown = secrets["file:pair:tls/c.pem:tls/c.key"].tls_certificate
    assert shown.private_key.filename == "outside/tls/c.key"
    assert shown.watched_directory.path == "outside/tls"


@pytest.mark.parametrize("allowed", [True, False])
def test_a_caller_dials_the_gateway_as_itself_and_only_if_allowed(*, allowed: bool) -> None:
    egress = InstancesChanged(ZONE_EGRESS, (Instance("egress-1", "n", "10.0.0.9", 10002),))
    intentions = [Intention("web", "legacy", Action.ALLOW)] if allowed else []
    zone = here(*BOTH, egress, IntentionsChanged.of(intentions))
    snapshot = zone.renderer.connect(1, WEB)
    clusters = found(snapshot, CLUSTER)
    assert set(clusters) == ({"legacy"} if allowed else set())
    if allowed:
        context = tls_pb2.UpstreamTlsContext()
        clusters["legacy"].transport_socket.typed_config.Unpack(context)
        assert context.sni == LEGACY
        combined = context.common_tls_context.combined_validation_context
        (accepted,) = combined.default_validation_context.match_typed_subject_alt_names
        assert accepted.matcher.exact == "spiffe://mesh.test/ns/default/dc/here/svc/mesh-egress"
        assert "10.0.0.9" in str(found(snapshot, ENDPOINTS)["legacy"])


def test_nothing_is_held_for_a_gateway_that_left() -> None:
    zone = here(*BOTH, at("ledger", "192.0.2.1"), ZonesChanged({"west": WEST}))
    zone.renderer.connect(1, NEED)
    zone.renderer.disconnect(1)
    assert zone.renderer.is_empty
