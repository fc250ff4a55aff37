"""Services by their virtual addresses: whom a proxy that captures is told of, and how."""

from __future__ import annotations

from typing import Any

from envoy.extensions.filters.udp.dns_filter.v3 import dns_filter_pb2

from mesh.envoy.capture import CAPTURE
from mesh.envoy.names import NAMES
from mesh.envoy.resource import CLUSTER, LISTENER, ROUTE, Snapshot, unpack
from mesh.model.entries import Entries, ServiceDefaults
from mesh.model.intentions import Action, Intention
from mesh.model.proxies import Capture, ProxyNeed, Upstream
from mesh.model.services import Instance, Protocol
from mesh.render.renderer import Renderer
from mesh.world.changes import (
    CatalogChanged,
    Change,
    ConfigEntriesChanged,
    DefaultPolicyChanged,
    InstancesChanged,
    IntentionsChanged,
    VirtualAddressesChanged,
)
from mesh.world.reduce import NOTHING, Touched, reduce
from mesh.world.snapshot import World

PLACE = Capture("127.0.0.1", 15_001, "::1")
WEB = ProxyNeed("web", "dc1", None, id="web-1", capture=PLACE)
API, DB, LEDGER = "240.0.0.1", "240.0.0.2", "240.0.0.3"
ADDRESSES = {
    "api": (API, "fd00::1"),
    "db": (DB, "fd00::2"),
    "Ledger": (LEDGER, "fd00::3"),
}
HTTP = ConfigEntriesChanged(Entries({"api": ServiceDefaults("api", Protocol.HTTP)}), {})


def instances(service: str) -> InstancesChanged:
    return InstancesChanged(service, (Instance(service, "n1", "10.0.0.1", 15006),))


def allowed(*services: str) -> IntentionsChanged:
    return IntentionsChanged.of([Intention("web", one, Action.ALLOW) for one in services])


BEGINNING: tuple[Change, ...] = (
    CatalogChanged(frozenset(ADDRESSES)),
    HTTP,
    VirtualAddressesChanged(ADDRESSES),
    *map(instances, ADDRESSES),
)


class Zone:
    """A zone's renderer, told of everything but intentions."""

    def __init__(self, *changes: Change) -> None:
        """Begin."""
        self.renderer = Renderer(World("dc1", "mesh.test"))
        self.say(*(changes or BEGINNING))

    def say(self, *changes: Change) -> dict[int, Snapshot]:
        """Move on by ``changes``; return whose snapshot is another."""
        world, touched = self.renderer.world, NOTHING
        for change in changes:
            world, more = reduce(world, change)
            touched = Touched(touched | more)
        return self.renderer.advance(world, touched)


def listener(snapshot: Snapshot, name: str = CAPTURE) -> Any:
    (found,) = [one for one in snapshot[LISTENER] if one.name == name]
    return unpack(found)


def doors(snapshot: Snapshot) -> dict[str, str]:
    """Return, for each virtual address with a door, the kind of filter behind it."""
    found = {}
    for chain in listener(snapshot).filter_chains:
        for block in chain.filter_chain_match.prefix_ranges:
            if block.prefix_len.value in {32, 128} and block.address_prefix not in {
                "127.0.0.1",
                "::1",
            }:
                found[block.address_prefix] = chain.filters[0].name.rpartition(".")[2]
    return found


def table(snapshot: Snapshot) -> dict[str, list[str]]:
    """Return what is answered for which name."""
    config = dns_filter_pb2.DnsFilterConfig()
    assert listener(snapshot, NAMES).listener_filters[0].typed_config.Unpack(config)
    domains = config.server_config.inline_dns_table.virtual_domains
    return {one.name: list(one.endpoint.address_list.address) for one in domains}


def names(snapshot: Snapshot, kind: str) -> list[str]:
    return [one.name for one in snapshot[kind]]


def test_an_intention_opens_a_door_and_its_end_closes_it() -> None:
    zone = Zone()
    before = zone.renderer.connect(1, WEB)
    assert doors(before) == {}
    opened = zone.say(allowed("api"))[1]
    assert doors(opened) == {
        API: "http_connection_manager",
        "fd00::1": "http_connection_manager",
    }
    assert names(opened, ROUTE) == ["api"]
    assert "api" in names(opened, CLUSTER)
    assert zone.say(allowed()) == {1: before}


def test_another_door_leaves_those_that_stand_as_they_are() -> None:
    zone = Zone()
    zone.say(allowed("api"))
    before = {str(one) for one in listener(zone.renderer.connect(1, WEB)).filter_chains}
    after = {str(one) for one in listener(zone.say(allowed("api", "db"))[1]).filter_chains}
    assert before < after


def test_who_came_first_makes_no_other_listener() -> None:
    zone = Zone()
    zone.say(allowed("db"))
    zone.renderer.connect(1, WEB)
    assert zone.say(allowed("api", "db"))[1] == Renderer(zone.renderer.world).connect(1, WEB)


def test_nobody_else_is_told_of_a_callers_intention() -> None:
    zone = Zone()
    for number, service in enumerate(("web", "cron"), 1):
        zone.renderer.connect(number, ProxyNeed(service, "dc1", None, capture=PLACE))
    zone.renderer.connect(3, ProxyNeed("web", "dc1", None))
    assert set(zone.say(allowed("db"))) == {1}


def test_a_door_opens_once_the_instances_are_known() -> None:
    zone = Zone(*BEGINNING[:3])
    zone.renderer.connect(1, WEB)
    assert not zone.say(allowed("db"))
    assert zone.renderer.needed == {"db"}
    assert doors(zone.say(instances("db"))[1]) == {DB: "tcp_proxy", "fd00::2": "tcp_proxy"}


def test_the_door_of_a_service_that_speaks_otherwise_is_another() -> None:
    zone = Zone()
    zone.say(allowed("api"))
    zone.renderer.connect(1, WEB)
    assert doors(zone.say(ConfigEntriesChanged(Entries(), {}))[1])[API] == "tcp_proxy"


def test_where_everything_is_allowed_what_is_declared_is_told() -> None:
    zone = Zone()
    zone.say(DefaultPolicyChanged(allow=True))
    declaring = ProxyNeed("web", "dc1", None, (Upstream("db", 9001),), capture=PLACE)
    assert set(doors(zone.renderer.connect(1, WEB))) >= {API, DB, LEDGER}
    assert set(doors(zone.renderer.connect(2, declaring))) == {DB, "fd00::2"}
    denied = IntentionsChanged.of([Intention("web", "db", Action.DENY)])
    assert DB not in doors(zone.say(denied)[1])


def test_without_a_door_a_virtual_address_is_refused_however_much_passes() -> None:
    chains = [
        (one.filter_chain_match.destination_port.value, str(one))
        for one in listener(Zone().renderer.connect(1, WEB)).filter_chains
        if any(
            block.address_prefix == "240.0.0.0" for block in one.filter_chain_match.prefix_ranges
        )
    ]
    assert sorted(port for port, _ in chains) == [0, 80, PLACE.port]
    assert all("may not call" in text for _, text in chains)
    assert "mesh intention allow web" in next(text for port, text in chains if port == 80)


def test_a_name_is_answered_in_capitals_and_in_small_letters_and_with_the_zone() -> None:
    need = ProxyNeed("web", "dc1", None, capture=PLACE, dns=Capture("127.0.0.1", 15_053, "::1"))
    zone = Zone()
    told = table(zone.renderer.connect(1, need))
    assert told["api.mesh"] == told["api.dc1.mesh"] == list(ADDRESSES["api"])
    assert told["Ledger.mesh"] == told["ledger.mesh"] == list(ADDRESSES["Ledger"])
    changed = zone.say(VirtualAddressesChanged({"api": ADDRESSES["api"]}))
    assert set(table(changed[1])) == {"api.mesh", "api.dc1.mesh"}


def test_nothing_is_kept_of_a_proxy_that_has_gone() -> None:
    zone = Zone()
    zone.say(allowed("api", "db"))
    zone.renderer.connect(1, WEB)
    zone.renderer.disconnect(1)
    assert zone.renderer.is_empty
    assert zone.renderer.needed == frozenset()
