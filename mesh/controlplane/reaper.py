"""What nobody else would clean up: registrations whose agents fell silent, and spent tokens.

The catalog never forgets a node that no Consul agent serves.  When a lease is gone the node's
lease check turns critical at once, which takes the instance out of load balancing; when it stays
gone for the grace period the node is removed.  The time of the loss stands in the check itself,
so that a new leader goes on where the old one stopped.

Leases also run out because the *zone* was away, or could not reach Consul to renew them.  So
whoever begins to look, or looks again after a gap, first gives heartbeats the time to arrive.

:func:`plan` and :func:`spent` are pure.  A heartbeat may come back between plan and act; whoever
acts therefore looks at the lease once more afterwards and, if it is there again, drops it, so
that the next heartbeat writes the whole registration anew.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from mesh.clients.consul import ConsulClient, HealthCheck
from mesh.controlplane import bindings
from mesh.controlplane.bindings import Bindings, StoredRecord
from mesh.controlplane.consul import nodes_with_meta
from mesh.controlplane.registrations import (
    LEASE_CHECK,
    LEASE_META,
    LEASE_TTL,
    PREFIX,
    REGISTRAR_META,
    lease_check,
)

logger = logging.getLogger(__name__)

GRACE: Final = timedelta(minutes=10)
"""How long an instance without a lease stays in the catalog, critical."""
SETTLE: Final = timedelta(seconds=LEASE_TTL)
"""How long leases are looked at without a gap before one that is missing counts as lost."""
_GAP: Final = timedelta(seconds=LEASE_TTL / 2)
"""Between two looks: more, and nobody knows whether heartbeats could be heard meanwhile."""
_LOST_AT: Final = re.compile(r"lease lost at (\S+)")


@dataclass(frozen=True, slots=True)
class LeasedNode:
    """A virtual node as the catalog shows it.

    ``lost_at`` is when a reaper found its lease gone, None while its lease check passes.
    """

    name: str
    address: str
    instance: str
    lost_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class MarkCritical:
    """Take the node's services out of load balancing."""

    node: LeasedNode


@dataclass(frozen=True, slots=True)
class Deregister:
    """Remove the node."""

    node: LeasedNode


Step = MarkCritical | Deregister


def plan(
    nodes: Iterable[LeasedNode], leases: Iterable[str], now: datetime, grace: timedelta = GRACE
) -> list[Step]:
    """Return what to do about nodes whose instance is not among ``leases``.

    Invariant: a node with a lease is never touched, and none is removed before it was critical
    for ``grace``.
    """
    held = frozenset(leases)
    steps: list[Step] = []
    for node in sorted(nodes, key=lambda each: each.name):
        if node.instance in held:
            continue
        if node.lost_at is None:
            steps.append(MarkCritical(node))
        elif now - node.lost_at >= grace:
            steps.append(Deregister(node))
    return steps


def spent(
    stored: Iterable[StoredRecord], now: datetime, reattest_for: timedelta
) -> list[StoredRecord]:
    """Return the records of join tokens that can decide nothing any more."""
    return [each for each in stored if each.record.is_spent(now, reattest_for)]


def losses(checks: Iterable[HealthCheck]) -> Mapping[str, datetime]:
    """Return when each node's lease was found lost, as critical lease checks tell."""
    found = {}
    for check in checks:
        if check.check_id != LEASE_CHECK or check.status != "critical":
            continue
        told = _LOST_AT.search(check.output)
        try:
            when = datetime.fromisoformat(told.group(1)) if told else None
        except ValueError:
            continue
        if when is not None:
            found[check.node] = when if when.tzinfo else when.replace(tzinfo=UTC)
    return found


class Reaper:
    """Carries out the plans; only the leader runs it."""

    def __init__(
        self,
        consul: ConsulClient,
        zone: str,
        *,
        grace: timedelta = GRACE,
        settle: timedelta = SETTLE,
        reattest_for: timedelta = bindings.REATTEST_FOR,
    ) -> None:
        """Look after the registrations of ``zone``."""
        self._consul = consul
        self._zone = zone
        self._grace = grace
        self._settle = settle
        self._began: datetime | None = None
        self._looked: datetime | None = None
        self._reattest_for = reattest_for

    async def reap(self, now: datetime) -> list[Step]:
        """Look once at every registration and return what was done.

        Raises:
            ConsulError: Consul did not answer; the rest is for the next time.

        """
        nodes = await self._nodes()
        # Leases after nodes: an instance that registers meanwhile has both or no node.
        answer = await self._consul.kv_list(PREFIX)
        leases = {entry.key.removeprefix(PREFIX) for entry in answer.value if entry.session}
        if not self._settled(now):
            return []
        steps = plan(nodes, leases, now, self._grace)
        for step in steps:
            await self._apply(step, now)
        return steps

    async def forget_spent_tokens(self, now: datetime) -> int:
        """Delete the records of spent join tokens and return how many there were.

        Raises:
            ConsulError: Consul did not answer; the rest is for the next time.

        """
        stored = await Bindings(self._consul).all()
        gone = spent(stored, now, self._reattest_for)
        for each in gone:
            await self._consul.kv_delete(each.key, cas=each.index)
        return len(gone)

    def _settled(self, now: datetime) -> bool:
        """Note a look, and tell whether there have been enough without a gap."""
        # A clock that was set back is a gap too.
        unbroken = self._looked is not None and timedelta() <= now - self._looked <= _GAP
        if self._began is None or not unbroken:
            self._began = now
        self._looked = now
        return now - self._began >= self._settle

    async def _nodes(self) -> list[LeasedNode]:
        lost = losses((await self._consul.health_state("critical")).value)
        nodes = await nodes_with_meta(self._consul, REGISTRAR_META, self._zone)
        return [
            LeasedNode(
                node.node,
                node.address,
                (node.meta or {}).get(LEASE_META, ""),
                lost.get(node.node),
            )
            for node in nodes
        ]

    async def _apply(self, step: Step, now: datetime) -> None:
        node = step.node
        match step:
            case MarkCritical():
                output = f"lease lost at {now.isoformat()} because the proxy's heartbeats stopped"
                await self._consul.catalog_register(
                    {
                        "Node": node.name,
                        "Address": node.address,
                        "SkipNodeUpdate": True,
                        "Check": lease_check(node.name, "critical", output),
                    }
                )
            case Deregister():
                await self._consul.catalog_deregister(node.name)
        logger.warning(
            "registration without lease",
            extra={"node": node.name, "step": type(step).__name__, "instance": node.instance},
        )
        if (await self._consul.kv_get(PREFIX + node.instance)).value is not None:
            await self._consul.kv_delete(PREFIX + node.instance)
