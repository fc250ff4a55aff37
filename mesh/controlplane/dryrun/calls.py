"""Where the calls of a service may end, and what of that differs.  Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from mesh.model.traffic import WHOLE, Forward, Redirect
from mesh.render.plan import may_reach
from mesh.routing.outbound import Compiled
from mesh.world.snapshot import World


@dataclass(frozen=True, slots=True)
class Reach:
    """Where calls may end.

    ``targets`` may be called, ``refused`` may not (by intention); ``answers`` are given by the
    caller's own proxy.  ``otherwise`` has the percentages of the calls that no particular route
    takes.  ``fault`` says why the calls cannot be routed.
    """

    targets: frozenset[str] = frozenset()
    refused: frozenset[str] = frozenset()
    answers: frozenset[str] = frozenset()
    otherwise: Mapping[str, float] = field(default_factory=dict)
    fault: str = ""


def reach(world: World, caller: str, compiled: Compiled) -> Reach:
    """Return where calls of ``caller`` may end that travel as ``compiled``."""
    traffic = compiled.traffic
    found: dict[str, bool] = {}
    answers: set[str] = set()
    for route in traffic.routes:
        if isinstance(route.action, Forward):
            for share in route.action.shares:
                if share.weight:
                    destination = traffic.destinations[share.target]
                    found[share.target.name] = may_reach(world, caller, destination)
        else:
            word = "redirect" if isinstance(route.action, Redirect) else "answer"
            answers.add(f"{word} {route.action.status}")
    last = traffic.routes[-1].action
    shares = last.shares if isinstance(last, Forward) else ()
    return Reach(
        frozenset(name for name, allowed in found.items() if allowed),
        frozenset(name for name, allowed in found.items() if not allowed),
        frozenset(answers),
        {share.target.name: share.weight * 100 / WHOLE for share in shares if share.weight},
        str(compiled.error) if compiled.error is not None else "",
    )


def words(before: Reach, after: Reach) -> tuple[str, ...]:
    """Say in single words what differs, such as ``refused``, ``allowed`` and ``targets``."""
    closed = not before.targets and bool(before.refused)
    found = {
        "unroutable": bool(after.fault) and not before.fault,
        "routable": bool(before.fault) and not after.fault,
        "refused": bool(after.refused - before.refused) and not closed,
        "allowed": bool(after.targets & before.refused) or (closed and bool(after.targets)),
        "targets": after.targets != before.targets,
        "answers": after.answers != before.answers,
        "shares": after.otherwise != before.otherwise,
    }
    return tuple(word for word, holds in found.items() if holds)
