"""Virtual addresses: their blocks, their domain, and the IPv6 one that goes with an IPv4 one."""

from __future__ import annotations

import hashlib
import ipaddress
from typing import Final

IPV4: Final = ipaddress.IPv4Network("240.0.0.0/4")
"""Reserved (RFC 1112, section 4), and so in nobody's use."""

DOMAIN: Final = "mesh"
"""What their names end in: one label of at most 14 letters, for which the kernel looks."""

_GLOBAL_ID: Final = 5


def ula(ipv4: str, trust_domain: str) -> str:
    """Return the unique local IPv6 address that goes with ``ipv4``.

    The interface id is the IPv4 address.
    """
    return str(ipv6_block(trust_domain)[int(ipaddress.IPv4Address(ipv4))])


def ipv6_block(trust_domain: str) -> ipaddress.IPv6Network:
    """Return the /48 of the IPv6 addresses of ``trust_domain``.

    Its global id is a hash of the trust domain (RFC 4193, section 3.2.2 asks for a pseudo-random
    one).
    """
    global_id = hashlib.sha256(trust_domain.encode()).digest()[:_GLOBAL_ID]
    packed = b"\xfd" + global_id + bytes(16 - 1 - _GLOBAL_ID)
    return ipaddress.IPv6Network((packed, 48))
