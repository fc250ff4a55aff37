"""Which services a proxy that captures is told of: those that its own service may call.

Under a default of deny, intentions say so.  Under a default of allow they are the upstreams that
it declares, as anything else would be everything; where it declares none, everything it may be.
Only what has a virtual address can be called that way.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import Final

from mesh.model.names import WILDCARD
from mesh.model.proxies import ProxyNeed
from mesh.policies.intentions.verdict import can_connect
from mesh.world.facets import Aspect
from mesh.world.reduce import Touched
from mesh.world.snapshot import World

_OF_ONE: Final = frozenset({Aspect.INTENTIONS, Aspect.ENTRIES})
_OF_ALL: Final = frozenset({Aspect.DEFAULT_POLICY, Aspect.PROXY_DEFAULTS})


@dataclass(frozen=True, slots=True)
class Captured:
    """A service that the application calls by its virtual address, at any port."""

    called: str


class Scopes:
    """Answers who may be called, for a world that moves on; each caller is judged once."""

    def __init__(self, world: World) -> None:
        """Start from ``world``."""
        self._world = world
        self._verdicts: defaultdict[str, dict[str, bool]] = defaultdict(dict)
        self._found: dict[str, tuple[Captured, ...]] = {}

    @property
    def is_empty(self) -> bool:
        """Whether nothing is remembered of any caller."""
        return not (self._verdicts or self._found)

    def of(self, need: ProxyNeed) -> tuple[Captured, ...]:
        """Return what ``need`` may call by virtual address, in the order of names."""
        if need.capture is None:
            return ()
        found = self._found.get(need.service)
        if found is None:
            addresses = self._world.virtual_addresses
            found = self._found[need.service] = tuple(
                Captured(service) for service in sorted(addresses) if self._may(need, service)
            )
        if self._world.default_allow and need.upstreams:
            declared = {one.called for one in need.upstreams}
            return tuple(one for one in found if one.called in declared)
        return found

    def forget(self, caller: str) -> None:
        """Let go of ``caller``, which has no proxy any more."""
        self._verdicts.pop(caller, None)
        self._found.pop(caller, None)

    def advance(self, world: World, touched: Touched) -> bool:
        """Move on to ``world``; return whether anybody's answer may be another."""
        self._world = world
        aspects = {facet.aspect for facet in touched}
        if aspects.isdisjoint(_OF_ONE | _OF_ALL | {Aspect.VIRTUAL_ADDRESSES}):
            return False
        self._found.clear()
        if not aspects.isdisjoint(_OF_ALL) or any(facet.name == WILDCARD for facet in touched):
            self._verdicts.clear()
            return True
        again = {facet.name for facet in touched if facet.aspect in _OF_ONE}
        for verdicts in self._verdicts.values():
            for service in again & verdicts.keys():
                del verdicts[service]
        return True

    def _may(self, need: ProxyNeed, service: str) -> bool:
        verdicts = self._verdicts[need.service]
        known = verdicts.get(service)
        if known is None:
            known = verdicts[service] = can_connect(
                self._world.intentions,
                need.service,
                service,
                self._world.protocol(service),
                default_allow=self._world.default_allow,
            )
        return known
