"""The primary's policies, copied into every other zone's own KV store.

A zone that is cut off keeps them, and may lay policies of its own over them meanwhile.  What is in
the primary is copied as it stands there; that it has nothing of a sudden is believed once it has
lasted, as with everything that another zone says, and only while the primary's document can be
read: Consul answers a token that has lost its rights, or that it does not know any more, as if
nothing were there, and among the policies are some that guard.
"""

from __future__ import annotations

import base64
import logging
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any, Final, NoReturn

import msgspec

from mesh.aio.backoff import Backoff
from mesh.aio.clock import Clock
from mesh.clients.consul import ConsulAddress, ConsulClient, ConsulError, KeyValue
from mesh.clients.consul.errors import Refused
from mesh.clients.consul.policies import LARGEST, MOST
from mesh.clients.consul.policy_records import MIRROR, PREFIX
from mesh.controlplane.federation.belief import EMPTY_FOR
from mesh.sources.zones.document import PREFIX as ZONES

_WAIT: Final = 10.0
"""Seconds that a read waits for news."""
_MARGIN: Final = 5.0
_CONNECTIONS: Final = 2
_UNLESS_PRIMARY: Final = 60.0
"""Seconds between looks at which datacenter is the primary, where this one is."""

Operation = Mapping[str, Any]

logger = logging.getLogger(__name__)


class Mirror:
    """Keeps the copies true.  Only the leader runs it."""

    def __init__(self, consul: ConsulClient, zone: str, clock: Clock) -> None:
        """``consul`` is the zone's own."""
        self._consul = consul
        self._zone = zone
        self._clock = clock
        self._emptied: datetime | None = None

    async def run(self) -> NoReturn:
        """Copy until cancelled."""
        backoff = Backoff(0.5, 10.0)
        while True:
            try:
                primary = await primary_of(self._consul)
                if primary in {"", self._zone}:
                    await self._clock.sleep(_UNLESS_PRIMARY)
                    continue
                await self._follow(primary, backoff)
            except ConsulError as error:
                logger.warning(
                    "the primary's policies are not copied", extra={"reason": str(error)}
                )
                await self._clock.sleep(backoff.next())

    async def _follow(self, primary: str, backoff: Backoff) -> NoReturn:
        address: ConsulAddress = replace(self._consul.address, datacenter=primary)
        async with ConsulClient(address, max_connections=_CONNECTIONS, margin=_MARGIN) as theirs:
            index = 0
            while True:
                answer = await theirs.kv_list(PREFIX, index=index, wait=_WAIT if index else 0)
                index = answer.index if answer.index >= index else 0
                readable = bool(answer.value) or await _is_readable(theirs, primary)
                await self.copy(answer.value, readable=readable)
                backoff.reset()

    async def copy(self, wanted: tuple[KeyValue, ...], *, readable: bool) -> None:
        """Make the copies those of ``wanted``, or wait whether it stays empty.

        ``readable`` tells whether the primary can be read at all.

        Raises:
            ConsulError: Consul did not answer, or refused.

        """
        held = (await self._consul.kv_list(MIRROR)).value
        now = self._clock.now()
        if wanted or not held or not readable:
            self._emptied = None
            if held and not readable:
                logger.warning("the primary cannot be read: the copies of its policies stand")
                return
        else:
            self._emptied = self._emptied or now
            if now - self._emptied < EMPTY_FOR:
                return
        operations = list(changes(wanted, held))
        for batch in batches(operations):
            await self._consul.txn(batch)
        if operations:
            logger.info("the primary's policies are copied", extra={"changes": len(operations)})


async def _is_readable(theirs: ConsulClient, primary: str) -> bool:
    try:
        return (await theirs.kv_get(f"{ZONES}{primary}")).value is not None
    except Refused:
        return False


async def primary_of(consul: ConsulClient) -> str:
    """Return the name of the primary datacenter; empty if there is none.

    Raises:
        ConsulError: Consul did not answer, or refused.

    """
    said = await consul.agent_self()
    settings = said.get("DebugConfig") or {}
    return str(settings.get("PrimaryDatacenter") or "")


def changes(wanted: Iterable[KeyValue], held: Iterable[KeyValue]) -> Iterator[Operation]:
    """Yield what makes the copies ``held`` those of ``wanted``, as Consul's transactions take it.

    What comes is written before what goes: a policy that was renamed is never missing.
    """
    copies = {pair.key: pair.data for pair in held}
    originals = {MIRROR + pair.key.removeprefix(PREFIX): pair.data for pair in wanted}
    for key, value in originals.items():
        if copies.get(key) != value:
            yield {"KV": {"Verb": "set", "Key": key, "Value": base64.b64encode(value).decode()}}
    for key in copies.keys() - originals.keys():
        yield {"KV": {"Verb": "delete", "Key": key}}


def batches(operations: Iterable[Operation]) -> Iterator[list[Operation]]:
    """Yield ``operations`` in order, as many at a time as a transaction takes."""
    batch: list[Operation] = []
    size = 0
    for operation in operations:
        more = len(msgspec.json.encode(operation))
        if batch and (len(batch) == MOST or size + more > LARGEST):
            yield batch
            batch, size = [], 0
        batch.append(operation)
        size += more
    if batch:
        yield batch
