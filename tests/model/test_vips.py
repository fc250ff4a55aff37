"""Virtual addresses: their blocks, and how those of one service go together."""

from __future__ import annotations

import ipaddress

from mesh.model.vips import IPV4, ipv6_block, ula


def test_an_ipv6_address_ends_in_the_ipv4_one_of_its_service() -> None:
    address = ipaddress.IPv6Address(ula("240.1.2.3", "mesh.test"))
    assert address in ipv6_block("mesh.test")
    assert address.packed[-4:] == bytes([240, 1, 2, 3])


def test_trust_domains_have_blocks_of_their_own_among_the_locally_assigned() -> None:
    blocks = {ipv6_block(domain) for domain in ("mesh.test", "mesh.internal", "other")}
    assert len(blocks) == 3
    assert all(one.subnet_of(ipaddress.IPv6Network("fd00::/8")) for one in blocks)


def test_all_of_class_e_is_there() -> None:
    assert ipaddress.IPv4Address("255.255.255.254") in IPV4
    assert ipaddress.IPv4Address("239.255.255.255") not in IPV4
