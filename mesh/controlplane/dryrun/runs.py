"""Takes requests for dry runs, one at a time, and puts the answers together.

Rendering a zone anew may take seconds.  It is done in a thread, on values that nobody changes,
and makes way for the event loop after each small piece of work: a push waits for one proxy's
rendering at most, not for the dry run.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Sequence
from typing import Final

from mesh.controlplane.api.dryrun_model import (
    CallChanged,
    CallReach,
    DocumentViolation,
    DryRunAnswer,
    DryRunRequest,
    EnvoyCheck,
    ProxyChange,
    Rejection,
    ResourceName,
    TypeChange,
)
from mesh.controlplane.dryrun.batches import Batch, batches
from mesh.controlplane.dryrun.calls import Reach
from mesh.controlplane.dryrun.desired import desired
from mesh.controlplane.dryrun.difference import difference
from mesh.controlplane.dryrun.envoy import FindEnvoy, Refused, ask
from mesh.controlplane.dryrun.forecast import CallChange, Changed, Proxy, forecast
from mesh.world.snapshot import World

_BREATH: Final = 0.0002
"""Seconds that the thread sleeps after a piece of work: the event loop's turn."""


_Looked = tuple[DryRunAnswer, tuple[Batch, ...]]
"""The answer but for what Envoy says, and what Envoy is asked."""


class DryRuns:
    """Answers what would change if policies were applied or deleted."""

    def __init__(
        self,
        world: Callable[[], World],
        proxies: Callable[[], Sequence[Proxy]],
        find_envoy: FindEnvoy,
    ) -> None:
        """Ask for the ``world`` and the connected ``proxies`` as they are now."""
        self._world = world
        self._proxies = proxies
        self._find_envoy = find_envoy
        self._one_at_a_time = asyncio.Lock()

    async def run(self, request: DryRunRequest) -> DryRunAnswer:
        """Return what ``request`` would change."""
        async with self._one_at_a_time:
            world, proxies = self._world(), tuple(self._proxies())
            given_up = threading.Event()
            try:
                look = asyncio.to_thread(_look, world, proxies, request, given_up)
                answer, asked = await look
            finally:
                # Whoever asked may have gone: then the thread need not go on.
                given_up.set()
            if not asked:
                return answer
            binary = await asyncio.to_thread(self._find_envoy)
            verdict = await ask(binary, asked)
        check = EnvoyCheck(checked=verdict.checked, unchecked=verdict.unchecked, note=verdict.note)
        rejected = [*answer.rejected, *map(_refused, verdict.refused)]
        return answer.model_copy(update={"rejected": rejected, "envoy": check})


class _GivenUpError(Exception):
    """Nobody waits for the answer any more."""


def _look(
    world: World, proxies: Sequence[Proxy], request: DryRunRequest, given_up: threading.Event
) -> _Looked:
    deleted = [(each.type, each.name) for each in request.delete]
    stands = desired(world.entries, world.policies, request.apply, deleted)
    if stands.findings:
        violations = [
            DocumentViolation(document=label, path=each.path, message=each.message)
            for label, each in stands.findings
        ]
        return DryRunAnswer(connected=len(proxies), violations=violations), ()

    def rest() -> None:
        if given_up.is_set():
            raise _GivenUpError
        time.sleep(_BREATH)

    found = forecast(world, stands.policies, proxies, rest)
    answer = DryRunAnswer(
        connected=len(proxies),
        proxies=[_proxy(each) for each in found.proxies],
        calls=[_call(each) for each in found.calls],
        rejected=[
            Rejection(resources=[], reason=f"{each.what}: {each.reason}") for each in found.broken
        ],
    )
    return answer, batches(found.proxies)


def _proxy(changed: Changed) -> ProxyChange:
    return ProxyChange(
        id=changed.proxy.id,
        service=changed.proxy.need.service,
        resources=[
            TypeChange(
                type=one.type_url,
                added=list(one.added),
                changed=list(one.changed),
                removed=list(one.removed),
            )
            for one in difference(changed.before, changed.after)
        ],
    )


def _call(changed: CallChange) -> CallChanged:
    return CallChanged(
        caller=changed.caller,
        service=changed.service,
        proxies=list(changed.proxies),
        change=list(changed.words),
        before=_reach(changed.before),
        after=_reach(changed.after),
    )


def _reach(found: Reach) -> CallReach:
    return CallReach(
        targets=sorted(found.targets),
        refused=sorted(found.refused),
        answers=sorted(found.answers),
        otherwise=dict(found.otherwise),
        fault=found.fault,
    )


def _refused(refused: Refused) -> Rejection:
    return Rejection(
        resources=[ResourceName(type=one.type_url, name=one.name) for one in refused.resources],
        proxy=refused.proxy,
        reason=refused.reason,
    )
