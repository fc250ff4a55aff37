"""What the table does beyond a verdict on one packet: flows, and other people's tables."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from mesh.capture import looking
from mesh.capture.plan import Entrance, Names, Plan
from mesh.capture.table import removal, replacement
from tests.capture.host import DNS, LAN, PLAIN, Host, answered, arrived, question
from tests.capture.plans import OWN, WEB, everything, names_only
from tests.zones import namespaces

RESOLVER = ("198.51.100.53", 53)
PEER, PROXY = "peer", "proxy"


@pytest.fixture(autouse=True)
def _bare(host: Host) -> Iterator[None]:
    host.nft.load(removal())
    yield
    host.nft.load(removal() + removal("other"))


@pytest.mark.parametrize("way", ["out", "in"])
def test_connections_from_before_go_on(host: Host, way: str) -> None:
    # The host tracks no connections yet: to its kernel, the next packet is of a new one.
    there, place = (host.peer, "192.0.2.1") if way == "out" else (host.name, LAN)
    port = PLAIN if way == "out" else 4001
    with namespaces.inside(there):
        listener = socket.create_server((place, port))
    with listener:
        opened = (
            host.open(socket.AF_INET, uid=WEB)
            if way == "out"
            else host.open_at_peer(socket.AF_INET)
        )
        opened.connect((place, port))
        accepted, _ = listener.accept()
        host.nft.load(replacement(everything(Entrance("web", 4001, 15006))))
        with opened, accepted:
            for one, other in ((opened, accepted), (accepted, opened)):
                other.settimeout(5)
                one.sendall(b"?")
                assert other.recv(1) == b"?"


def test_one_socket_may_ask_for_names_of_both_kinds(host: Host) -> None:
    host.nft.load(replacement(everything()))
    for first, then, expected in (
        ("api.mesh", "example.org", PEER),
        ("example.org", "api.mesh", PROXY),
    ):
        with host.open(socket.AF_INET, socket.SOCK_DGRAM, uid=WEB) as opened:
            assert answered(opened, RESOLVER, question(first)) != expected
            # Refused, not sent the wrong way, for the kernel translates all of a flow alike.
            with pytest.raises(PermissionError):
                opened.send(question(then))
        with host.open(socket.AF_INET, socket.SOCK_DGRAM, uid=WEB) as opened:
            assert answered(opened, RESOLVER, question(then)) == expected


def test_names_are_refused_at_once_where_the_proxy_is_down(host: Host) -> None:
    plan = Plan(own=OWN, names=Names("mesh", DNS + 1))
    host.nft.load(replacement(plan))
    for resolver in (RESOLVER, ("127.0.0.1", 53), ("::1", 53), ("2001:db8:1::53", 53)):
        family = socket.AF_INET6 if ":" in resolver[0] else socket.AF_INET
        with host.open(family, socket.SOCK_DGRAM) as opened, pytest.raises(ConnectionRefusedError):
            answered(opened, resolver, question("api.mesh"))
        with host.open(family, socket.SOCK_DGRAM) as opened:
            assert answered(opened, resolver, question("example.org")) != PROXY


def test_the_proxys_own_questions_go_where_they_are_sent(host: Host) -> None:
    host.nft.load(replacement(everything()))
    with host.open(socket.AF_INET, socket.SOCK_DGRAM, uid=OWN) as opened:
        assert answered(opened, RESOLVER, question("api.mesh")) == PEER


def test_a_port_is_closed_to_who_comes_around_the_proxy(host: Host) -> None:
    host.nft.load(replacement(everything()))
    # Another's table, which is there first and knows nothing of the proxy.
    host.nft.load(
        "table inet other { chain before { type nat hook prerouting priority -150; "
        "tcp dport 80 redirect to :5432\n}\n}"
    )
    with host.open_at_peer(socket.AF_INET) as opened, pytest.raises(ConnectionRefusedError):
        opened.connect((LAN, 80))
    assert arrived(host.open_at_peer(socket.AF_INET), (LAN, 5432)).port == 15006


def test_ours_comes_before_the_usual_place_for_translations(host: Host) -> None:
    host.nft.load(
        "table ip other { chain docker { type nat hook prerouting priority -100; "
        "tcp dport 5432 redirect to :443\n}\n}"
    )
    try:
        host.nft.load(replacement(everything()))
        assert arrived(host.open_at_peer(socket.AF_INET), (LAN, 5432)).port == 15006
    finally:
        host.nft.load("delete table ip other")


def test_another_plan_replaces_the_first_and_removal_leaves_nothing(host: Host) -> None:
    before = host.nft.listed()
    host.nft.load(replacement(everything()))
    host.nft.load(replacement(names_only()))
    assert "15001" not in host.nft.listed()
    host.nft.load(removal())
    assert before == host.nft.listed() == ""


def test_what_is_planned_is_known_as_it_will_be_listed(host: Host) -> None:
    planned = host.nft.as_listed(everything())
    assert host.nft.listed() == host.nft.listed("mesh_planned") == ""
    host.nft.load(replacement(everything()))
    assert host.nft.listed() == planned
    assert host.nft.as_listed(everything()) == planned


def test_what_was_captured_is_counted(host: Host) -> None:
    host.nft.load(replacement(everything()))
    arrived(host.open(socket.AF_INET, uid=WEB), ("198.51.100.1", 80))
    arrived(host.open_at_peer(socket.AF_INET), (LAN, 5432))
    with host.open(socket.AF_INET, socket.SOCK_DGRAM) as opened:
        answered(opened, RESOLVER, question("api.mesh"))
    found = {(each.chain, each.port): each.packets for each in looking.loaded(host.nft.objects())}
    assert found[("take-web", 15001)] == found[("inbound", 15006)] == found[("names", DNS)] == 1
