"""What a person may ask of a rollout, and what becomes of it.  Pure.

A wish takes effect in the state itself: whoever asks writes it, by compare-and-set, and every
zone instance follows at once, whether or not one of them leads just now.
"""

from __future__ import annotations

import enum
from datetime import datetime

import msgspec

from mesh.policies.rollouts.progress import ended, noted
from mesh.policies.rollouts.state import Phase, State


class Wish(enum.StrEnum):
    """What can be asked for."""

    PAUSE = "pause"
    """Stay at this step."""
    RESUME = "resume"
    """Go on, and hold the step anew."""
    PROMOTE = "promote"
    """Send all calls to the canary, whatever the gates say."""
    ABORT = "abort"
    """Send all calls to the stable version."""
    RESTART = "restart"
    """Begin again at the first step."""


class NotPossibleError(ValueError):
    """The rollout is in a phase in which the wish has no meaning; the message says which."""


def fulfil(wish: Wish, state: State, now: datetime) -> State:
    """Return the state after ``wish``; the same if it was so already.

    Raises:
        NotPossibleError: the wish has no meaning in this phase.

    """
    match wish:
        case Wish.PAUSE:
            return _turned(state, Phase.PAUSED, "paused on request", now)
        case Wish.RESUME:
            return _turned(state, Phase.PROGRESSING, "resumed on request", now)
        case Wish.PROMOTE:
            return _promoted(state, now)
        case Wish.ABORT:
            return _aborted(state, now)
        case Wish.RESTART:
            # No document has an empty shape: the leader begins again.
            return noted(msgspec.structs.replace(state, shape=""), "asked to begin again", now)


def _turned(state: State, phase: Phase, reason: str, now: datetime) -> State:
    if state.phase.is_final:
        raise _over(state)
    if state.phase is Phase.PENDING:
        raise NotPossibleError(f"has not begun: {state.reason}")
    if state.phase is phase:
        return state
    return noted(msgspec.structs.replace(state, phase=phase, since=now), reason, now)


def _promoted(state: State, now: datetime) -> State:
    if state.phase is Phase.PROMOTED:
        return state
    if state.phase.is_final:
        raise _over(state)
    return ended(state, Phase.PROMOTED, "promoted on request", now)


def _aborted(state: State, now: datetime) -> State:
    # Also after it was promoted: it is the quickest way back.
    if state.phase in {Phase.ROLLED_BACK, Phase.ABORTED}:
        return state
    return ended(state, Phase.ABORTED, "aborted on request", now)


def _over(state: State) -> NotPossibleError:
    return NotPossibleError(f"is {state.phase} already: `mesh rollout restart` begins it again")
