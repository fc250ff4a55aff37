"""The plan's verdict is what the kernel does."""

from __future__ import annotations

import socket
from collections.abc import Mapping
from ipaddress import ip_address
from typing import Any, Final

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from mesh.capture.plan import Plan, plan
from mesh.capture.table import replacement
from mesh.capture.verdict import Inbound, Outbound, Protocol, verdict
from mesh.config.capture import CaptureSettings
from mesh.model.vips import ula
from tests.capture.host import (
    APPS,
    CAPTURE,
    CGROUPS,
    DNS,
    INBOUND,
    LAN,
    LAN6,
    LINK6,
    Arrival,
    Host,
    answered,
    arrived,
    question,
)

USERS: Final[Mapping[str, int]] = {"mesh": 999, "consul": 998, "sshd": 997, "web": 1001}
UIDS: Final = (0, 997, 998, 999, 1001, 1002, 1003)
TAKEN: Final = ("root", "web", "1002", "1003")
OURS: Final = ula("240.1.2.3", "mesh.internal")
VIRTUAL: Final = ("240.0.0.1", "255.1.2.3", OURS)
OUTSIDE: Final = (
    "198.51.100.7",
    "203.0.113.9",
    "2001:db8:1::1",
    ula("240.1.2.3", "other.test"),
    "fc00::f001:203",
)
LINK: Final = ("169.254.169.254", "fe80::1")
HERE: Final = ("127.0.0.1", "127.9.9.9", "::1", LAN, LAN6)
BLOCKS: Final = ("198.51.100.0/24", "198.51.0.0/16", "240.0.0.0/8", "2001:db8:1::/48", "fd00::/8")
RESOLVERS: Final = ("198.51.100.53", "127.0.0.1", "2001:db8:1::53", "::1")
NAMES: Final = (
    "api.mesh",
    "API.Mesh",
    "a.mesh",
    f"{'s' * 63}.mesh",
    f"{'s' * 63}.{'z' * 63}.mesh",
    "api.dc1.mesh",
    "mesh",
    "mesh.example",
    "api.mesh.example",
    "api.meshy",
    "api.nomesh",
    "example.org",
)
PACKETS: Final = 30


def accounts(name: str) -> int | None:
    return {**USERS, "root": 0}.get(name)


@st.composite
def proxies(draw: st.DrawFn) -> list[dict[str, Any]]:
    """Two proxies, and who of this world's users and cgroups belongs to which."""
    both: list[dict[str, Any]] = [{"service": "a", "inbound": {}}, {"service": "b", "inbound": {}}]
    for index, proxy in enumerate(both):
        if draw(st.integers(0, 3)):
            proxy.update(outbound=CAPTURE[index], users=[], cgroups=[])
            proxy["to"] = draw(st.sampled_from(["mesh", "all"]))
    for port in APPS[1:]:
        to = draw(st.sampled_from([0, 1, None]))
        if to is not None:
            both[to]["inbound"][port] = INBOUND[to]
    takers = [each for each in both if "outbound" in each]
    has_everybody: bool = draw(st.booleans())
    if takers and has_everybody:
        # The last of them takes everybody's.
        del takers[-1]
    for spare, taker in zip(("1004", "1005"), takers, strict=False):
        taker["users"].append(spare)
    for key, values in (("users", TAKEN), ("cgroups", CGROUPS[1:])):
        for value in values:
            at = draw(st.sampled_from([*range(len(takers)), None]))
            if at is not None:
                takers[at][key].append(value)
    return [each for each in both if each["inbound"] or "outbound" in each]


@st.composite
def plans(draw: st.DrawFn) -> Plan:
    """What a host may say."""
    made = draw(proxies())
    free = set(TAKEN).difference(*(each.get("users", ()) for each in made))
    blocks = st.lists(st.sampled_from(BLOCKS), max_size=2, unique=True)
    document = {
        "proxies": made,
        "exclude": {
            "ports": draw(st.lists(st.sampled_from(APPS[1:]), max_size=1)),
            "cidrs": draw(st.just([]) | blocks),
            "users": draw(st.lists(st.sampled_from(sorted(free)), max_size=1)) if free else [],
        },
    }
    if draw(st.booleans()) or not made:
        document["dns"] = {"port": DNS}
    return plan(CaptureSettings.model_validate(document), accounts)


def outbound(address: str, port: int, uid: int, cgroup: str) -> Outbound:
    here = address in HERE
    return Outbound(ip_address(address), port, uid, cgroup=cgroup, loopback=here)


connections = st.builds(
    outbound,
    # The first are what captures take most: half of all packets would otherwise be left alone for
    # one of many reasons at once.
    st.sampled_from(VIRTUAL) | st.sampled_from(VIRTUAL) | st.sampled_from([*OUTSIDE, *LINK, *HERE]),
    st.sampled_from([80, 80, 5432, *APPS]),
    st.sampled_from([1001, 1002, 1003, 1003, *UIDS]),
    st.sampled_from(["", "", *CGROUPS]),
)
questions = st.builds(
    lambda address, uid, name: Outbound(
        ip_address(address),
        53,
        uid,
        Protocol.UDP,
        loopback=address in HERE,
        question=name,
    ),
    st.sampled_from(RESOLVERS),
    st.sampled_from(UIDS),
    st.sampled_from(NAMES),
)
arrivals = st.tuples(st.sampled_from([LAN, LAN6, LINK6]), st.builds(Inbound, st.sampled_from(APPS)))


@pytest.fixture(scope="module", autouse=True)
def _cgroups(host: Host) -> None:
    host.place_cgroups()


def sent(host: Host, packet: Outbound) -> Arrival:
    """Open the connection that ``packet`` opens, and return where it arrived."""
    text = str(packet.address)
    family = socket.AF_INET if packet.address.version == 4 else socket.AF_INET6
    place: tuple[str | int, ...] = (text, packet.port)
    if packet.address.is_link_local and family == socket.AF_INET6:
        place = (text, packet.port, 0, host.scope())
    return arrived(host.open(family, uid=packet.uid or 0, cgroup=packet.cgroup), place)


def asked_of(host: Host, packet: Outbound) -> str:
    """Ask what ``packet`` asks, and return who answered."""
    family = socket.AF_INET if packet.address.version == 4 else socket.AF_INET6
    with host.open(family, socket.SOCK_DGRAM, uid=packet.uid or 0) as opened:
        return answered(opened, (str(packet.address), 53), question(packet.question))


def received(host: Host, address: str, packet: Inbound) -> Arrival:
    """Send ``packet`` from the peer, and return where it arrived."""
    family = socket.AF_INET if ":" not in address else socket.AF_INET6
    scope = (0, host.scope(peer=True)) if address == LINK6 else ()
    return arrived(host.open_at_peer(family), (address, packet.port, *scope))


def expected(port: int | None, packet: Outbound | Inbound) -> tuple[str, int]:
    if port is not None:
        return "proxy", port
    stays = isinstance(packet, Inbound) or packet.loopback
    return ("app", packet.port) if stays else ("peer", 9)


@settings(
    max_examples=60,
    deadline=None,
    derandomize=True,
    # A failure names the packet; to make the settings smaller would take minutes.
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    plans(),
    st.lists(connections, min_size=PACKETS, max_size=PACKETS),
    st.lists(questions, min_size=10, max_size=10),
    st.lists(arrivals, min_size=10, max_size=10),
)
def test_the_kernel_does_as_the_verdict_says(
    host: Host,
    made: Plan,
    outbounds: list[Outbound],
    asked: list[Outbound],
    inbounds: list[tuple[str, Inbound]],
) -> None:
    host.nft.load(replacement(made))
    for packet in asked:
        stays = "app" if packet.loopback else "peer"
        assert asked_of(host, packet) == ("proxy" if verdict(made, packet) else stays), packet
    for packet in outbounds:
        found = sent(host, packet)
        port = verdict(made, packet)
        assert (found.place, found.port) == expected(port, packet), packet
        if found.meant is not None and found.place == "proxy":
            assert found.meant == (str(packet.address), packet.port)
    for address, arrival in inbounds:
        found = received(host, address, arrival)
        port = verdict(made, arrival)
        assert (found.place, found.port) == expected(port, arrival), (address, arrival)
        if port is not None:
            assert found.meant == (address, arrival.port)
