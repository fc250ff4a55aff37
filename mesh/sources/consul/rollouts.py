"""Where rollouts stand, from the KV store.  Pure.

``mesh/rollouts/default/<name>`` is a state as ``mesh.policies.rollouts`` writes it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from mesh.clients.consul import KeyValue
from mesh.model.rollouts import Rollout
from mesh.policies.rollouts import state
from mesh.sources.consul.problems import Raw

KIND: Final = "rollout"
PREFIX: Final = state.PREFIX

_PAIR: Final = "pair"


def raw_states(pairs: Iterable[KeyValue]) -> dict[str, Raw]:
    """Return what stands at each key, still unread, by name."""
    return {
        pair.key.removeprefix(PREFIX): {_PAIR: pair} for pair in pairs if not pair.key.endswith("/")
    }


def parse_state(raw: Raw) -> Rollout:
    """Read what one state means for calls.

    Raises:
        InvalidInputError: it is none.

    """
    pair = raw[_PAIR]
    name = pair.key.removeprefix(PREFIX)
    return state.decode(pair.data, name).rollout(name)


def by_service(found: Mapping[str, Rollout]) -> dict[str, Rollout]:
    """Return rollouts by the service whose calls they divide; the first by name stands."""
    ordered = (found[name] for name in sorted(found, reverse=True))
    return {rollout.stable.service: rollout for rollout in ordered}
