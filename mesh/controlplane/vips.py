"""Virtual addresses: one IPv4 and one IPv6 for each service, the same for the whole zone.

An application that resolved a name keeps the address for as long as it likes.  So an address
outlives its service by a day before it can mean another, and a service that comes back within
that day finds its own again.

:func:`plan` is pure.  :class:`VirtualAddresses` carries its writes to Consul's KV, in transactions
by compare-and-set on the indexes that the plan was made from: what loses is planned anew.
Only the leader allocates; should two believe to lead for a moment, both may give one address to
different services, and the next plan takes it from the younger.
"""

from __future__ import annotations

import base64
import hashlib
import ipaddress
import logging
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from http import HTTPStatus
from typing import Any, Final, Self

import msgspec

from mesh.clients.consul import ConsulClient, KeyValue, Refused
from mesh.clients.consul.policies import MOST
from mesh.model import names
from mesh.model.vips import IPV4, ula

logger = logging.getLogger(__name__)

PREFIX: Final = "mesh/vips/"
"""Where allocations stand in the KV; the rest of the key is the service."""
QUARANTINE: Final = timedelta(days=1)
"""How long a released address is given to nobody else."""
_FIRST: Final = int(IPV4[1])
# The last of the block is the limited broadcast address.
_COUNT: Final = int(IPV4[-1]) - _FIRST


@dataclass(frozen=True, slots=True)
class Allocation:
    """What a service holds.  ``index`` is the KV's modify index, ``created`` its create index."""

    service: str
    ipv4: str
    ipv6: str
    released_at: datetime | None = None
    index: int = 0
    created: int = 0

    @classmethod
    def parse(cls, service: str, entry: KeyValue) -> Self:
        """Read an allocation from the KV.

        Raises:
            ValueError: the value is not one.

        """
        document = msgspec.json.decode(entry.data, type=_Document)
        return cls(
            service,
            str(ipaddress.IPv4Address(document.ipv4)),
            str(ipaddress.IPv6Address(document.ipv6)),
            document.released_at,
            entry.modify_index,
            entry.create_index,
        )

    def encode(self) -> bytes:
        """Write the KV value that :meth:`parse` reads."""
        return msgspec.json.encode(_Document(self.ipv4, self.ipv6, self.released_at))


@dataclass(frozen=True, slots=True)
class Put:
    """Write ``allocation`` if its key is still at ``allocation.index``."""

    allocation: Allocation


@dataclass(frozen=True, slots=True)
class Delete:
    """Forget ``allocation`` if its key is still at ``allocation.index``."""

    allocation: Allocation


Step = Put | Delete


class _Document(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    ipv4: str
    ipv6: str
    released_at: datetime | None = None


def plan(
    held: Collection[Allocation],
    wanted: Iterable[str],
    trust_domain: str,
    now: datetime,
    *,
    pool: int = _COUNT,
) -> list[Step]:
    """Return the writes that give every wanted service an address of its own, one of ``pool``.

    Invariant: after the steps no two allocations share an address, and no address changes hands
    within :data:`QUARANTINE` of its release.
    """
    wanted = frozenset(wanted)
    steps: list[Step] = []
    taken: set[str] = set()
    mine: set[str] = set()
    for allocation in sorted(held, key=lambda one: (one.created, one.service)):
        if allocation.ipv4 in taken:
            # The younger of two that share an address gets another, or goes.
            if allocation.service not in wanted:
                steps.append(Delete(allocation))
                mine.add(allocation.service)
            continue
        if allocation.service in wanted:
            if allocation.released_at is not None:
                steps.append(Put(replace(allocation, released_at=None)))
            mine.add(allocation.service)
        elif allocation.released_at is None:
            steps.append(Put(replace(allocation, released_at=now)))
        elif now - allocation.released_at >= QUARANTINE:
            steps.append(Delete(allocation))
        taken.add(allocation.ipv4)
    indexes = {allocation.service: allocation.index for allocation in held}
    for service in sorted(wanted - mine):
        ipv4 = _free(service, taken, pool)
        taken.add(ipv4)
        fresh = Allocation(service, ipv4, ula(ipv4, trust_domain), index=indexes.get(service, 0))
        steps.append(Put(fresh))
    return steps


def _free(service: str, taken: set[str], pool: int) -> str:
    # Starting at a hash of the name, a zone whose KV was lost finds most addresses again.
    digest = hashlib.sha256(service.encode()).digest()
    offset = int.from_bytes(digest[:8], "big") % pool
    while True:
        candidate = str(ipaddress.IPv4Address(_FIRST + offset))
        if candidate not in taken:
            return candidate
        offset = (offset + 1) % pool


def read(entries: Sequence[KeyValue]) -> tuple[list[Allocation], frozenset[str]]:
    """Parse the KV's entries; return also the services whose entry cannot be read.

    Such an entry is logged and left alone.
    """
    found = []
    unreadable = set()
    for entry in entries:
        service = entry.key.removeprefix(PREFIX)
        try:
            found.append(Allocation.parse(names.service_name(service), entry))
        except ValueError as error:
            unreadable.add(service)
            logger.warning(
                "virtual address unreadable: delete the key, and it is allocated anew",
                extra={"key": entry.key, "reason": str(error)},
            )
    return found, frozenset(unreadable)


class VirtualAddresses:
    """Allocates for the services it is told of."""

    def __init__(self, consul: ConsulClient, trust_domain: str) -> None:
        """Keep allocations in the KV of ``consul``."""
        self._consul = consul
        self._trust_domain = trust_domain

    async def reconcile(self, wanted: Iterable[str], now: datetime) -> Mapping[str, Allocation]:
        """Bring the KV to what ``wanted`` asks for and return who holds what.

        Raises:
            ConsulError: Consul did not answer; what was written stands.

        """
        wanted = frozenset(wanted)
        while True:
            answer = await self._consul.kv_list(PREFIX)
            held, unreadable = read(answer.value)
            steps = plan(held, wanted - unreadable, self._trust_domain, now)
            if not steps:
                return {each.service: each for each in held if each.released_at is None}
            for batch in batched(steps):
                await self._apply(batch)

    async def _apply(self, steps: Sequence[Step]) -> None:
        """Take all of ``steps`` or, if something of it was changed meanwhile, none."""
        try:
            await self._consul.txn([_operation(step) for step in steps])
        except Refused as error:
            if error.status != HTTPStatus.CONFLICT:
                raise
            logger.info("virtual addresses changed meanwhile", extra={"reason": str(error)})
            return
        for step in steps:
            allocation = step.allocation
            logger.info(
                "virtual address",
                extra={
                    "service": allocation.service,
                    "ipv4": allocation.ipv4,
                    "step": type(step).__name__.lower(),
                },
            )


def batched(steps: Sequence[Step]) -> Iterator[Sequence[Step]]:
    """Yield ``steps`` in as few transactions as Consul takes them in.

    One by one, thousands of new names would each wake everybody who follows the addresses.
    """
    for begin in range(0, len(steps), MOST):
        yield steps[begin : begin + MOST]


def _operation(step: Step) -> Mapping[str, Any]:
    allocation = step.allocation
    key = {"Key": PREFIX + allocation.service, "Index": allocation.index}
    if isinstance(step, Delete):
        return {"KV": {"Verb": "delete-cas", **key}}
    return {"KV": {"Verb": "cas", **key, "Value": base64.b64encode(allocation.encode()).decode()}}
