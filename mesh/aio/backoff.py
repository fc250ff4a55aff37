"""How long to wait before the next try: exponential, capped, with full jitter.

Full jitter (a uniform draw between zero and the bound) spreads a fleet that lost the same
server at the same moment over the whole interval.
"""

from __future__ import annotations

from collections.abc import Callable
from random import random


class Backoff:
    """Bounds ``base``, 2 ``base``, 4 ``base`` … up to ``cap`` seconds, one draw below each."""

    def __init__(
        self, base: float = 0.1, cap: float = 10.0, draw: Callable[[], float] = random
    ) -> None:
        """``draw`` yields numbers in [0, 1)."""
        self._base = base
        self._cap = cap
        self._draw = draw
        self._bound = base

    def next(self) -> float:
        """Return the seconds to wait now, and raise the bound for the next time."""
        bound = min(self._bound, self._cap)
        self._bound = min(bound * 2, self._cap)
        return self._draw() * bound

    def reset(self) -> None:
        """Start again from ``base``: the last try succeeded."""
        self._bound = self._base
