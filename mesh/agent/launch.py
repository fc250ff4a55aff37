"""Which Envoy to start or to retire: the decision of :mod:`mesh.agent.supervisor`, alone.

At most two run.  *Live* follows the zone.  *Fallback* serves meanwhile, from the last known good
configuration (or from an earlier agent's settings).  Both listen on the same ports, so each can
take over from the other.

The invariant: a fallback that serves is retired only when live serves, and a host that has a last
known good configuration never waits for the zone for longer than :data:`PATIENCE`.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import Final

PATIENCE: Final = 3.0
"""Seconds that a live Envoy has to serve before the last known good one is started beside it."""


class Phase(enum.Enum):
    """How far an Envoy is."""

    ABSENT = enum.auto()
    STARTING = enum.auto()
    SERVING = enum.auto()


class Step(enum.Enum):
    """What to do now."""

    NOTHING = enum.auto()
    START_LIVE = enum.auto()
    START_FALLBACK = enum.auto()
    RETIRE_FALLBACK = enum.auto()


@dataclass(frozen=True, slots=True)
class View:
    """What is known at the moment of the decision.

    ``may_start_live`` and ``may_start_fallback`` are false while the pause after a crash lasts.
    """

    live: Phase
    fallback: Phase
    zone_answers: bool
    has_last_good: bool
    live_for: float = 0.0
    may_start_live: bool = True
    may_start_fallback: bool = True


def decide(view: View) -> Step:
    """Return the one step that is due."""
    if view.live is Phase.SERVING:
        return Step.NOTHING if view.fallback is Phase.ABSENT else Step.RETIRE_FALLBACK
    fallback_due = view.fallback is Phase.ABSENT and view.has_last_good and view.may_start_fallback
    if view.live is Phase.STARTING:
        return Step.START_FALLBACK if fallback_due and view.live_for >= PATIENCE else Step.NOTHING
    # Without a last known good there is nothing better to do than to let Envoy wait itself.
    live_due = view.zone_answers or not view.has_last_good
    if live_due and view.may_start_live:
        return Step.START_LIVE
    # While live pauses after a crash, too: somebody should serve.
    return Step.START_FALLBACK if fallback_due else Step.NOTHING
