"""Plans that several tests load."""

from __future__ import annotations

from typing import Final

from mesh.capture.plan import Entrance, Names, Plan, Taker
from mesh.model.vips import IPV4, ipv6_block
from tests.capture.host import DNS

WEB: Final = 1001
OWN: Final = 999


def everything(*entrances: Entrance) -> Plan:
    """Return a plan that captures all that a plan can."""
    return Plan(
        own=OWN,
        takers=(Taker("web", 15001, to_all=True, users=(WEB,)),),
        entrances=(Entrance("web", 5432, 15006), *entrances),
        exempt=(OWN,),
        names=Names("mesh", DNS),
        virtual=(IPV4, ipv6_block("mesh.internal")),
    )


def names_only() -> Plan:
    """Return a plan that captures questions for names."""
    return Plan(own=OWN, names=Names("mesh", DNS))
