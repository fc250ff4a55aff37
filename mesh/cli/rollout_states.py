"""What the commands about rollouts know and do in Consul."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from mesh.aio.clock import Clock, SystemClock
from mesh.cli.arguments import refused
from mesh.cli.policy_check import read_entries
from mesh.clients.consul import ConsulAddress, ConsulClient, policy_records
from mesh.controlplane.rollouts.store import RolloutStore, Stored
from mesh.model.violations import InvalidInputError, Violation
from mesh.policies.document import DEFAULT_MESH, parse
from mesh.policies.kinds.rollout import KIND, RolloutSpec
from mesh.policies.registry import KINDS
from mesh.policies.rollouts.state import PREFIX, Phase, State
from mesh.policies.rollouts.wishes import NotPossibleError, Wish, fulfil
from mesh.routing.rollouts import still_divides

_TRIES: Final = 8
_WAIT: Final = 30.0


@dataclass(frozen=True, slots=True)
class Rollout:
    """One rollout: what was asked for and where it stands, either of which may be missing."""

    name: str
    spec: RolloutSpec | None
    state: State | None


@dataclass(frozen=True, slots=True)
class Found:
    """All rollouts by name, and what is to be warned of."""

    rollouts: Mapping[str, Rollout]
    warnings: tuple[str, ...]

    def named(self, name: str) -> list[Rollout]:
        """Return that of ``name``, or all if it is empty."""
        return [one for key, one in sorted(self.rollouts.items()) if name in {"", key}]


async def look(address: ConsulAddress) -> Found:
    """Read every rollout.

    Raises:
        ConsulError: Consul did not answer, or refused.

    """
    async with ConsulClient(address) as client:
        return await _look(client)


async def follow(address: ConsulAddress) -> AsyncIterator[Found]:
    """Read every rollout, and again whenever one went on.

    Raises:
        ConsulError: Consul did not answer, or refused.

    """
    async with ConsulClient(address) as client:
        index = 0
        while True:
            answer = await client.kv_list(PREFIX, index=index, wait=_WAIT if index else 0)
            index = answer.index if answer.index >= index else 0
            yield await _look(client)


async def ask(address: ConsulAddress, wish: Wish, name: str, clock: Clock | None = None) -> State:
    """Do what a person wishes of the rollout ``name``, and return where it stands then.

    Raises:
        InvalidInputError: there is no such rollout, or the wish has no meaning now.
        ConsulError: Consul did not answer, or refused.

    """
    now = (clock or SystemClock()).now()
    async with ConsulClient(address) as client:
        store = RolloutStore(client)
        for _ in range(_TRIES):
            stored = await store.state(name)
            if stored is None:
                raise await _absent(store, name)
            try:
                after = fulfil(wish, stored.state, now)
            except NotPossibleError as error:
                raise refused(f"the rollout {name}", str(error)) from error
            if after == stored.state or await store.put(name, after, stored.index):
                return after
    raise refused(f"the rollout {name}", "is changed by others all the time; try again")


async def refuse_needed(client: ConsulClient, names: Iterable[str]) -> None:
    """Refuse to delete rollouts that calls depend on.

    Raises:
        InvalidInputError: with each that is unfinished, or was promoted and still sends calls.
        ConsulError: Consul did not answer, or refused.

    """
    states = (await RolloutStore(client).states()).states
    wrong = []
    for name in names:
        stored = states.get(name)
        reason = await _needed(client, name, stored) if stored is not None else ""
        if reason:
            wrong.append(Violation(f"{KIND.name} {name}", reason))
    if wrong:
        raise InvalidInputError("the command", tuple(wrong))


async def forget(client: ConsulClient, names: Iterable[str]) -> None:
    """Delete the states of rollouts whose documents are gone.

    Raises:
        ConsulError: Consul did not answer, or refused.

    """
    store = RolloutStore(client)
    for name in names:
        await client.kv_delete(PREFIX + name)
    if names:
        judged = (await store.states()).states.items()
        await store.sweep(frozenset(key for key, one in judged if one.state.phase.is_judged))


async def _look(client: ConsulClient) -> Found:
    held = await RolloutStore(client).states()
    pairs = (await client.kv_list(f"{policy_records.PREFIX}{DEFAULT_MESH}/{KIND.name}/")).value
    specs: dict[str, RolloutSpec] = {}
    for key, pair in policy_records.documents(pairs):
        try:
            spec = parse(policy_records.parse(pair).document, KINDS).spec
        except InvalidInputError:
            continue  # the zone names it, and `mesh check`
        if isinstance(spec, RolloutSpec):
            specs[key.name] = spec
    states = {name: stored.state for name, stored in held.states.items()}
    rollouts = {
        name: Rollout(name, specs.get(name), states.get(name)) for name in {*specs, *states}
    }
    return Found(rollouts, tuple(str(error) for error in held.unreadable.values()))


async def _needed(client: ConsulClient, name: str, stored: Stored) -> str:
    state = stored.state
    if state.phase.is_judged:
        return (
            f"is {state.phase} at {state.weight:g}%: end it with `mesh rollout promote {name}` or "
            f"`mesh rollout abort {name}`, or delete it with --force"
        )
    if state.phase is not Phase.PROMOTED:
        return ""
    stable, canary = state.stable.target, state.canary.target
    if not still_divides(await read_entries(client), stable):
        return ""
    return (
        f"is what sends the calls to {canary.name}: without it they go back to {stable.name}.  "
        f"Let {canary.name} be what Consul's service-resolver makes of {stable.service} first, "
        "or delete it with --force"
    )


async def _absent(store: RolloutStore, name: str) -> InvalidInputError:
    if await store.has_document(name):
        return refused(f"the rollout {name}", "has not begun: no zone has taken it up yet")
    return refused("the command", f"there is no rollout {name}; see `mesh rollout status`")
