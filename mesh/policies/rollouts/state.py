"""Where a rollout stands, and how that is written down.  Pure.

The state is a document of its own, ``mesh/rollouts/<mesh>/<name>`` in Consul's KV, so that
whoever leads a zone next goes on where the last one stopped.  It names the two versions itself:
what it says of the calls holds also while the policy cannot be read.
"""

from __future__ import annotations

import enum
import hashlib
import json
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Final

import msgspec

from mesh.model.destinations import Target
from mesh.model.rollouts import Rollout
from mesh.model.traffic import WHOLE
from mesh.model.violations import InvalidInputError, Violation
from mesh.policies.document import DEFAULT_MESH
from mesh.policies.rollouts.figures import NOTHING, Figures
from mesh.policies.rollouts.gates import Verdict

if TYPE_CHECKING:  # who only reads states does not pay for the models of documents
    from mesh.policies.kinds.rollout import RolloutSpec

PREFIX: Final = f"mesh/rollouts/{DEFAULT_MESH}/"
"""Where states stand in the KV; the rest of the key is the rollout's name."""
REMEMBERED: Final = 100
"""How many events of its history a rollout keeps."""
ALL: Final = 100.0
"""The weight, in percent, that a promoted canary has."""


class Phase(enum.StrEnum):
    """What becomes of a rollout."""

    PENDING = "Pending"
    """It cannot begin yet, and all calls go to the stable version."""
    PROGRESSING = "Progressing"
    PAUSED = "Paused"
    """It stays at its step until somebody resumes it; a failed judgement still ends it."""
    PROMOTED = "Promoted"
    ROLLED_BACK = "RolledBack"
    ABORTED = "Aborted"

    @property
    def is_final(self) -> bool:
        """Whether only a person, or another document, leads out of it."""
        return self not in {Phase.PENDING, Phase.PROGRESSING, Phase.PAUSED}

    @property
    def is_judged(self) -> bool:
        """Whether the canary's calls are judged."""
        return self in {Phase.PROGRESSING, Phase.PAUSED}


class Version(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """A service, or a subset of it."""

    service: str
    subset: str = ""

    @property
    def target(self) -> Target:
        """The same, as a target of calls."""
        return Target(self.service, self.subset)


class Observed(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """The numbers of the latest judgement; rates in percent, latencies in milliseconds.

    ``proxies`` is how many of the ``callers`` told of their calls.
    """

    at: datetime
    verdict: Verdict
    proxies: int = 0
    callers: int = 0
    requests: int = 0
    success_rate: float | None = None
    latency: float | None = None
    stable_requests: int = 0
    stable_success_rate: float | None = None
    stable_latency: float | None = None


class Event(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What happened to it; ``weight`` is the canary's afterwards, in percent."""

    at: datetime
    phase: Phase
    step: int
    weight: float
    reason: str


class State(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """Where one rollout stands.

    ``document`` is the version of the policy that was seen last, ``shape`` tells whether it still
    asks for the same, ``run`` names this attempt.  ``step`` counts from 0; ``since`` is when it
    began, or was resumed.  The windows hold the calls since the last verdict that was one.
    """

    stable: Version
    canary: Version
    document: int
    shape: str
    run: str
    phase: Phase
    step: int
    weight: Annotated[float, msgspec.Meta(ge=0, le=100)]
    since: datetime
    judged_at: datetime
    reason: str
    breaches: int = 0
    canary_window: Figures = NOTHING
    stable_window: Figures = NOTHING
    observed: Observed | None = None
    history: tuple[Event, ...] = ()

    def rollout(self, name: str) -> Rollout:
        """Return what it means for calls."""
        return Rollout(
            name,
            self.stable.target,
            self.canary.target,
            round(self.weight * WHOLE / ALL),
            run=self.run if self.phase.is_judged else "",
        )


def shape_of(spec: RolloutSpec) -> str:
    """Return a short text that is another if a rollout must begin again."""
    said = spec.model_dump(mode="json", include={"service", "stable", "canary", "steps"})
    return hashlib.blake2b(json.dumps(said, sort_keys=True).encode(), digest_size=8).hexdigest()


def encode(state: State) -> bytes:
    """Write what :func:`decode` reads."""
    return msgspec.json.encode(state)


def decode(data: bytes, name: str) -> State:
    """Read the state of the rollout ``name``.

    Raises:
        InvalidInputError: it is none.

    """
    try:
        return msgspec.json.decode(data, type=State)
    except ValueError as error:
        wrong = Violation("", f"holds no state of a rollout: {error}")
        raise InvalidInputError(f"key {PREFIX}{name}", (wrong,)) from error
