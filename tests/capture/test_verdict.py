"""Whose a connection is, and what is nobody's: said here once more, apart from the plan's code."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address
from typing import Final

import pytest

from mesh.capture.plan import Plan, Taker
from mesh.capture.verdict import Inbound, Outbound, Protocol, verdict
from mesh.model.vips import IPV4, ipv6_block, ula
from tests.capture.plans import OWN, WEB, everything

SERVICE: Final = ip_address("240.1.2.3")
OUTSIDE: Final = ip_address("198.51.100.7")
ALL: Final = replace(everything(), takers=(Taker("all", 15001, to_all=True, everybody=True),))
SPLIT: Final = Plan(
    own=OWN,
    takers=(
        Taker("rest", 1, to_all=True, everybody=True),
        Taker("user", 2, to_all=True, users=(WEB,)),
        Taker("slice", 3, to_all=True, cgroups=("system.slice",)),
        Taker("unit", 4, to_all=False, cgroups=("system.slice/web.service",)),
    ),
    virtual=(IPV4, ipv6_block("mesh.internal")),
)


@pytest.mark.parametrize(
    ("uid", "cgroup", "port"),
    [
        (WEB, "system.slice/web.service", 4),
        (WEB, "system.slice/web.service/below", 4),
        (WEB, "system.slice/web.service2", 3),
        (WEB, "system.slice", 3),
        (WEB, "system.slice2", 2),
        (WEB, "user.slice", 2),
        (WEB + 1, "user.slice", 1),
        (0, "user.slice", None),
        (0, "system.slice", 3),
        (None, "", None),
    ],
)
def test_the_most_specific_proxy_has_it(uid: int | None, cgroup: str, port: int | None) -> None:
    assert verdict(SPLIT, Outbound(SERVICE, 80, uid, cgroup=cgroup)) == port


def test_whose_it_is_does_not_depend_on_where_it_goes() -> None:
    mine = Outbound(OUTSIDE, 80, WEB, cgroup="system.slice/web.service")
    assert verdict(SPLIT, mine) is None
    assert verdict(SPLIT, replace(mine, cgroup="system.slice")) == 3


@pytest.mark.parametrize(
    ("address", "captured"),
    [
        ("240.0.0.1", True),
        ("239.255.255.255", False),
        (ula("240.0.0.1", "mesh.internal"), True),
        (ula("240.0.0.1", "other.test"), False),
    ],
)
def test_the_meshs_addresses_are_those_of_its_trust_domain(address: str, *, captured: bool) -> None:
    packet = Outbound(ip_address(address), 80, 1, cgroup="system.slice/web.service")
    assert (verdict(SPLIT, packet) is not None) is captured


@pytest.mark.parametrize(
    "packet",
    [
        Outbound(SERVICE, 80, OWN),
        Outbound(OUTSIDE, 22, WEB),
        Outbound(OUTSIDE, 80, WEB, loopback=True),
        Outbound(OUTSIDE, 80, WEB, opening=False),
        Outbound(OUTSIDE, 80, 0),
        Outbound(OUTSIDE, 443, WEB, Protocol.UDP),
        Outbound(ip_address("169.254.169.254"), 80, WEB),
        Outbound(ip_address("fe80::1"), 80, WEB),
        Outbound(ip_address("224.0.0.1"), 80, WEB),
        Outbound(ip_address("ff02::1"), 80, WEB),
        Outbound(OUTSIDE, 53, OWN, Protocol.UDP, question="api.mesh"),
        Inbound(22),
        Inbound(5432, loopback=True),
        Inbound(5432, local=False),
        Inbound(5432, opening=False),
        Inbound(5432, Protocol.UDP),
    ],
)
def test_what_is_never_captured(packet: Outbound | Inbound) -> None:
    assert verdict(ALL, packet) is None
    assert verdict(ALL, Outbound(OUTSIDE, 80, WEB)) == 15001
    assert verdict(ALL, Inbound(5432)) == 15006
