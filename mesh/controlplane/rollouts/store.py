"""States and measurements of rollouts in Consul's KV.

A state is written by compare-and-set, by the leader and by whoever pauses or aborts; measurements
are each written by one zone instance, and read by the leader.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final

import msgspec

from mesh.clients.consul import ConsulClient
from mesh.clients.consul.policy_records import Key
from mesh.model.violations import InvalidInputError
from mesh.policies.document import DEFAULT_MESH
from mesh.policies.kinds.rollout import KIND
from mesh.policies.rollouts.figures import NOTHING, Figures
from mesh.policies.rollouts.state import PREFIX, State, decode, encode

MEASUREMENTS: Final = "mesh/rollout-measurements/"
"""Where measurements stand: below it ``<rollout>/<instance>``."""


@dataclass(frozen=True, slots=True)
class Stored:
    """A state as it stands; ``index`` is the KV's."""

    state: State
    index: int


@dataclass(frozen=True, slots=True)
class Holdings:
    """Every state there is, and why some cannot be read."""

    states: Mapping[str, Stored]
    unreadable: Mapping[str, InvalidInputError]


class Published(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """What one zone instance has measured of one run of a rollout since ``began``.

    ``callers`` is how many of its proxies call the service, ``places`` how many of them can be
    asked, ``answered`` how many of those that were asked last did answer.
    """

    run: str
    began: datetime
    at: datetime
    canary: Figures = NOTHING
    stable: Figures = NOTHING
    callers: int = 0
    places: int = 0
    answered: int = 0


class RolloutStore:
    """Reads and writes both in one Consul."""

    def __init__(self, consul: ConsulClient) -> None:
        """Ask through ``consul``."""
        self._consul = consul

    async def states(self) -> Holdings:
        """Return every state.

        Raises:
            ConsulError: Consul did not answer, or refused.

        """
        found: dict[str, Stored] = {}
        unreadable: dict[str, InvalidInputError] = {}
        for pair in (await self._consul.kv_list(PREFIX)).value:
            name = pair.key.removeprefix(PREFIX)
            if not name or name.endswith("/"):
                continue
            try:
                found[name] = Stored(decode(pair.data, name), pair.modify_index)
            except InvalidInputError as error:
                unreadable[name] = error
        return Holdings(found, unreadable)

    async def state(self, name: str) -> Stored | None:
        """Return one state, None if there is none.

        Raises:
            InvalidInputError: it is malformed.
            ConsulError: Consul did not answer, or refused.

        """
        pair = (await self._consul.kv_get(PREFIX + name)).value
        return None if pair is None else Stored(decode(pair.data, name), pair.modify_index)

    async def put(self, name: str, state: State, index: int) -> bool:
        """Write a state if its key is still at ``index`` (0: there is none); whether it was."""
        return await self._consul.kv_put(PREFIX + name, encode(state), cas=index)

    async def delete(self, name: str, index: int) -> bool:
        """Delete a state if its key is still at ``index``; whether it was."""
        return await self._consul.kv_delete(PREFIX + name, cas=index)

    async def has_document(self, name: str) -> bool:
        """Whether the policy stands, as Consul knows it now."""
        path = Key(DEFAULT_MESH, KIND.name, name).path
        return (await self._consul.kv_get(path)).value is not None

    async def publish(self, name: str, instance: str, measured: Published) -> None:
        """Write what ``instance`` has measured."""
        key = f"{MEASUREMENTS}{name}/{instance}"
        await self._consul.kv_put(key, msgspec.json.encode(measured))

    async def measurements(self, name: str, run: str) -> Mapping[str, Published]:
        """Return what each instance has published of ``run``."""
        prefix = f"{MEASUREMENTS}{name}/"
        found = {}
        for pair in (await self._consul.kv_list(prefix)).value:
            try:
                measured = msgspec.json.decode(pair.data, type=Published)
            except ValueError:
                continue  # of another release: its instance will be upgraded, or its key swept
            if measured.run == run:
                found[pair.key.removeprefix(prefix)] = measured
        return found

    async def sweep(self, active: frozenset[str]) -> None:
        """Delete the measurements of rollouts that are not ``active``."""
        keys = (await self._consul.kv_keys(MEASUREMENTS, separator="")).value
        names = {key.removeprefix(MEASUREMENTS).partition("/")[0] for key in keys}
        for name in names - active:
            await self._consul.kv_delete(f"{MEASUREMENTS}{name}/", recurse=True)
