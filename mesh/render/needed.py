"""The services whose instances some slot depends on, counted."""

from __future__ import annotations

from collections import Counter


class Needed:
    """Counts, for each service, the slots that depend on it."""

    def __init__(self) -> None:
        """Start with none."""
        self._counts: Counter[str] = Counter()
        self._services: frozenset[str] | None = None

    @property
    def services(self) -> frozenset[str]:
        """Those that some slot depends on: the same object until they are others."""
        if self._services is None:
            self._services = frozenset(self._counts)
        return self._services

    def change(self, now: frozenset[str], before: frozenset[str]) -> None:
        """Note that a slot depends on ``now`` in the place of ``before``."""
        if now is before:
            return
        for service in now:
            if not self._counts[service]:
                self._services = None
            self._counts[service] += 1
        for service in before:
            self._counts[service] -= 1
            if not self._counts[service]:
                del self._counts[service]
                self._services = None
