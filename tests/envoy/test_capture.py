"""What is built for captured connections, and that Envoy's way of looking finds what was meant."""

from __future__ import annotations

import ipaddress
import itertools
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from envoy.config.cluster.v3 import cluster_pb2
from hypothesis import given
from hypothesis import strategies as st

from mesh.envoy.capture import PASSTHROUGH, capture_listener, passthrough_cluster
from mesh.envoy.passing import EVERYWHERE, Block, passages
from mesh.model import vips
from mesh.model.passthrough import (
    HostKind,
    HostProtocol,
    Passthrough,
    PassthroughMatch,
    PassthroughMode,
)
from mesh.model.proxies import Capture
from tests.realenvoy import bootstrap, validated

ALL, NONE = Passthrough(PassthroughMode.ALL), Passthrough(PassthroughMode.NONE)
DATABASE = PassthroughMatch(HostKind.IP, "192.0.2.1", port=5432)
SITE = PassthroughMatch(HostKind.DOMAIN, "*.example.com", HostProtocol.TLS, 443)
PAGE = PassthroughMatch(HostKind.DOMAIN, "example.com", HostProtocol.HTTP, 80)
GREETER = PassthroughMatch(HostKind.DOMAIN, "greeter.test", HostProtocol.GRPC)
OWN_PORT = 15_001
BLOCKS = ("10.0.0.0/8", "10.1.0.0/16", "10.1.2.3/32", "0.0.0.0/0", "fd00::/8", "fd00::1/128")
PLACES = ("10.0.0.1", "10.1.0.1", "10.1.2.3", "192.0.2.9", "fd00::1", "fd00::2", "2001:db8::1")
PORTS = (80, 443, OWN_PORT)
DOMAINS = ("a.test", "b.test")
SPOKEN = (HostProtocol.TCP, HostProtocol.TLS, HostProtocol.HTTP, HostProtocol.HTTP2)

ports = st.sampled_from([None, *PORTS])
addresses = st.builds(
    PassthroughMatch,
    st.just(HostKind.CIDR),
    st.sampled_from(BLOCKS),
    st.sampled_from(HostProtocol),
    ports,
)
domains = st.builds(
    PassthroughMatch,
    st.just(HostKind.DOMAIN),
    st.sampled_from(DOMAINS),
    st.sampled_from([each for each in HostProtocol if each is not HostProtocol.TCP]),
    ports,
)


def matched(*matches: PassthroughMatch) -> Passthrough:
    return Passthrough(PassthroughMode.MATCHED, matches)


def built(passthrough: Passthrough, address: str = "127.0.0.1") -> Any:
    return capture_listener("web", Capture(address, OWN_PORT), passthrough)


def inspectors(listener: Any) -> list[str]:
    return [each.name.rpartition(".")[2] for each in listener.listener_filters]


def is_meant(
    match: PassthroughMatch, place: str, port: int, spoken: HostProtocol, name: str
) -> bool:
    """Whether ``match`` lets this connection through, as somebody would say it."""
    wire = HostProtocol.HTTP2 if match.protocol is HostProtocol.GRPC else match.protocol
    if match.port not in {None, port}:
        return False
    if match.kind is HostKind.DOMAIN:
        return wire is spoken and match.value == name
    where = ipaddress.ip_address(place) in ipaddress.ip_network(match.value)
    return where and wire in {HostProtocol.TCP, spoken}


def passes(
    matches: Sequence[PassthroughMatch],
    own: tuple[Block, ...],
    connection: tuple[str, int, HostProtocol, str],
) -> bool:
    """Whether Envoy lets ``connection`` through: by port, then the smallest block, then speech."""
    place, port, spoken, name = connection
    address = ipaddress.ip_address(place)
    found = list(passages(matches, own_port=OWN_PORT, own=own))
    if port == OWN_PORT and any(address in one for one in own):
        # The listener has a chain of its own in front.
        assert not any(one.port == port and set(one.blocks) & set(own) for one in found)
        found = [one for one in found if one.port != port or not set(one.blocks) & set(own)]
    named = {one.port for one in found} | {OWN_PORT}
    here = [one for one in found if one.port == (port if port in named else None)]
    around = [
        (block.prefixlen, one) for one in here for block in one.blocks if address in block
    ] + [(block.prefixlen, None) for block in own if port == OWN_PORT and address in block]
    sizes = [size for size, _ in around]
    assert len(sizes) == len(set(sizes)), "two chains for one block"
    _, chosen = max(around, key=lambda one: one[0], default=(0, None))
    if chosen is None:
        return False
    allowed = chosen.allowed
    return not allowed.protocols.isdisjoint({HostProtocol.TCP, spoken}) or (
        name in allowed.domains(spoken)
    )


@given(
    st.lists(st.one_of(addresses, domains), max_size=6),
    st.sampled_from([EVERYWHERE, (ipaddress.IPv4Network("10.1.2.3/32"),)]),
    st.tuples(
        st.sampled_from(PLACES),
        st.sampled_from([*PORTS, 9]),
        st.sampled_from(SPOKEN),
        st.sampled_from([*DOMAINS, "c.test"]),
    ),
)
def test_what_passes_is_what_some_match_means(
    matches: list[PassthroughMatch],
    own: tuple[Block, ...],
    connection: tuple[str, int, HostProtocol, str],
) -> None:
    place, port, *_ = connection
    itself = port == OWN_PORT and any(ipaddress.ip_address(place) in one for one in own)
    meant = not itself and any(is_meant(match, *connection) for match in matches)
    assert passes(matches, own, connection) is meant


@pytest.mark.parametrize("port", [None, 443])
def test_a_match_within_the_virtual_addresses_opens_nothing_else(port: int | None) -> None:
    within = PassthroughMatch(HostKind.IP, "240.9.9.9", port=port)
    listener = capture_listener(
        "web", Capture("127.0.0.1", OWN_PORT), matched(within, DATABASE), virtual=(vips.IPV4,)
    )
    opened = [one.filter_chain_match for one in listener.filter_chains if PASSTHROUGH in str(one)]
    places = [(one.destination_port.value, *one.prefix_ranges) for one in opened]
    assert [(port, block.address_prefix) for port, block in places] == [(5432, "192.0.2.1")]


def test_envoy_takes_every_pair_of_matches(tmp_path: Path) -> None:
    listeners = []
    places = [PassthroughMatch(HostKind.CIDR, block) for block in BLOCKS]
    places += [replace(each, protocol=protocol) for each in places[:4] for protocol in SPOKEN[1:]]
    hosts = [
        PassthroughMatch(HostKind.DOMAIN, domain, protocol, port)
        for domain in ("a.test", "*.test")
        for protocol in SPOKEN[1:]
        for port in (OWN_PORT, None)
    ]
    for number, pair in enumerate(itertools.combinations([*places, *hosts], 2)):
        listener = built(matched(*pair), "::" if number % 2 else "127.0.0.1")
        listener.name = f"{number}"
        listener.address.socket_address.port_value = 20_000 + number
        listeners.append(listener)
    validated(bootstrap(listeners), tmp_path)


@pytest.mark.parametrize("passthrough", [ALL, NONE, matched(), matched(DATABASE)])
def test_nothing_is_looked_into_where_addresses_decide(passthrough: Passthrough) -> None:
    assert inspectors(built(passthrough)) == ["original_dst"]
    assert not built(passthrough).continue_on_listener_filters_timeout


def test_only_connections_to_a_named_port_are_looked_into() -> None:
    listener = built(matched(DATABASE, SITE, PAGE))
    assert inspectors(listener) == ["original_dst", "tls_inspector", "http_inspector"]
    for found, port in zip(listener.listener_filters[1:], (443, 80), strict=True):
        here = found.filter_disabled.not_match.destination_port_range
        assert (here.start, here.end) == (port, port + 1)
    assert listener.continue_on_listener_filters_timeout


def test_several_ports_are_told_and_without_a_port_it_is_all() -> None:
    other = PassthroughMatch(HostKind.DOMAIN, "a.test", HostProtocol.TLS, 8443)
    two = built(matched(SITE, other)).listener_filters[1].filter_disabled.not_match
    assert [rule.destination_port_range.start for rule in two.or_match.rules] == [443, 8443]
    assert not built(matched(GREETER)).listener_filters[1].HasField("filter_disabled")


def test_blocks_with_the_same_rules_share_a_chain() -> None:
    same = [PassthroughMatch(HostKind.IP, f"192.0.2.{number}", port=25) for number in range(9)]
    _itself, mail = built(matched(*same)).filter_chains
    assert len(mail.filter_chain_match.prefix_ranges) == 9


def test_every_address_is_both_families() -> None:
    assert built(ALL, "::").address.socket_address.ipv4_compat
    assert not built(ALL, "::1").address.socket_address.ipv4_compat


@pytest.mark.parametrize(
    ("address", "refused"),
    [("127.0.0.1", ["127.0.0.1/32"]), ("::1", ["::1/128"]), ("::", ["0.0.0.0/0", "::/0"])],
)
def test_the_listeners_own_place_is_refused(address: str, refused: list[str]) -> None:
    (own,) = built(ALL, address).filter_chains
    match = own.filter_chain_match
    assert match.destination_port.value == OWN_PORT
    found = [f"{each.address_prefix}/{each.prefix_len.value}" for each in match.prefix_ranges]
    assert found == refused


def test_the_cluster_dials_where_the_connection_went() -> None:
    cluster = passthrough_cluster(ALL)
    assert cluster is not None
    assert cluster.type == cluster_pb2.Cluster.ORIGINAL_DST
    assert cluster.lb_policy == cluster_pb2.Cluster.CLUSTER_PROVIDED
    assert cluster.connect_timeout.ToSeconds() == 5
    assert passthrough_cluster(matched(PAGE)) == cluster


@pytest.mark.parametrize("passthrough", [NONE, matched()])
def test_there_is_no_cluster_where_nothing_passes(passthrough: Passthrough) -> None:
    assert passthrough_cluster(passthrough) is None
