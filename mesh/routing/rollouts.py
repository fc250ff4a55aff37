"""Whether a rollout can take effect, and whether it still has one.  Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

from mesh.model.destinations import Target
from mesh.model.entries import Entries
from mesh.model.names import WILDCARD
from mesh.model.services import Health
from mesh.model.traffic import Forward
from mesh.policies.document import Document
from mesh.policies.intentions import Call, judge
from mesh.policies.kinds.rollout import RolloutSpec
from mesh.routing.bexpr import evaluate
from mesh.routing.chain import ChainError, Resolved, compile_chain, resolve
from mesh.world.snapshot import World

_ANYBODY_ELSE: Final = "mesh-probe-of-anybody-else"


def obstacle(world: World, document: Document) -> str:
    """Say why calls cannot be divided as ``document`` wants; empty if they can."""
    return next(_obstacles(world, document), "")


def still_divides(entries: Entries, stable: Target, zone: str = "") -> bool:
    """Whether calls to the service would still end at ``stable`` without a rollout."""
    try:
        ends = resolve(entries, stable.service, stable.subset, zone=zone).target
        chain = compile_chain(entries, stable.service, zone=zone)
    except ChainError:
        return True
    return any(
        share.target == ends and share.weight > 0
        for route in chain.routes
        if isinstance(route.action, Forward)
        for share in route.action.shares
    )


def _obstacles(world: World, document: Document) -> Iterator[str]:
    spec = document.spec
    if not isinstance(spec, RolloutSpec):
        return
    stable, canary = spec.stable_target, spec.canary_target
    try:
        ends = resolve(world.entries, stable.service, stable.subset, zone=world.zone)
        new = resolve(world.entries, canary.service, canary.subset, zone=world.zone)
    except ChainError as error:
        yield f"its versions cannot be resolved: {error}"
        return
    if ends.target.service != stable.service:
        yield f"calls to {stable.service} end at {ends.target.service}: name that in `stable`"
    if ends.target == new.target:
        yield f"stable and canary are both {new.target.name}: nothing is left to do"
    if world.protocol(stable.service).is_http is not world.protocol(canary.service).is_http:
        yield f"{stable.service} and {canary.service} speak different protocols"
    other = _earlier(world.policies.values(), document, stable.service)
    if other is not None:
        yield f"{other.label} divides the calls to {stable.service} already"
    yield from _shut_out(world, stable.service, canary.service)
    if _is_down(world, new):
        yield f"{new.target.name} has no healthy instance"


def _shut_out(world: World, stable: str, canary: str) -> Iterator[str]:
    """Yield who may call the stable service, but not, or not so, the canary's."""
    if stable == canary:
        return
    named = {
        intention.source
        for destination in (stable, canary, WILDCARD)
        for intention in world.intentions.get(destination, ())
    }
    for source in (*sorted(named - {WILDCARD}), _ANYBODY_ELSE):
        old, new = _right(world, source, stable), _right(world, source, canary)
        if any(old) and old != new:
            who = "anybody" if source == _ANYBODY_ELSE else source
            yield (
                f"{who} may call {stable}, but not {canary} in the same way: give {canary} the "
                "intentions of the other"
            )


def _right(world: World, source: str, destination: str) -> tuple[object, ...]:
    """Return what ``source`` may do: nothing in it is true if it may do nothing."""
    call = Call(source, destination, world.protocol(destination))
    verdict = judge(world.intentions, call, default_allow=world.default_allow)
    decided = verdict.decided_by
    if verdict.conditional and decided is not None:
        return verdict.allowed, decided.permissions, decided.jwt
    return verdict.allowed, (), ()


def _earlier(documents: Iterable[Document], mine: Document, service: str) -> Document | None:
    """Return the rollout that divides the calls to ``service`` before ``mine`` may."""
    others = [
        each
        for each in documents
        if isinstance(each.spec, RolloutSpec)
        and each.spec.stable_target.service == service
        and each.name < mine.name
    ]
    return min(others, key=lambda each: each.name, default=None)


def _is_down(world: World, version: Resolved) -> bool:
    service, condition = version.target.service, version.selection.filter
    known = world.instances.get(service)
    if known is None:
        # Nobody calls it yet, so nobody watches it: that is found out soon enough.
        return False
    chosen = (
        one
        for one in known
        if condition is None or evaluate(condition, one, service=service, zone=world.zone)
    )
    return all(one.health is Health.CRITICAL for one in chosen)
