"""Blocked queries: who waits for which topic, and waking exactly them.

A waiting query costs one future and one timer.  A query is for topics, for one key, or for
all keys below a prefix.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass

from mesh.embedded.store import Changes

_KEY = "kv/"


@dataclass(frozen=True, slots=True)
class Watch:
    """What a query waits for."""

    topics: tuple[str, ...] = ()
    key: str | None = None
    prefix: str | None = None


class Watchers:
    """All blocked queries of one registry."""

    def __init__(self) -> None:
        """Begin with nobody waiting."""
        self._topics: dict[str, set[asyncio.Future[None]]] = {}
        self._prefixes: dict[str, set[asyncio.Future[None]]] = {}

    def __len__(self) -> int:
        """Count what is waited for, a query once for each of its topics."""
        return sum(map(len, (*self._topics.values(), *self._prefixes.values())))

    async def wait(self, watch: Watch, seconds: float) -> None:
        """Wait until something of ``watch`` changes, at most ``seconds``."""
        loop = asyncio.get_running_loop()
        woken = loop.create_future()
        timer = loop.call_later(seconds, _wake, woken)
        topics = watch.topics if watch.key is None else (*watch.topics, _KEY + watch.key)
        for topic in topics:
            self._topics.setdefault(topic, set()).add(woken)
        if watch.prefix is not None:
            self._prefixes.setdefault(watch.prefix, set()).add(woken)
        try:
            await woken
        finally:
            timer.cancel()
            for topic in topics:
                _leave(self._topics, topic, woken)
            if watch.prefix is not None:
                _leave(self._prefixes, watch.prefix, woken)

    def wake(self, changes: Changes) -> None:
        """Wake those for whom ``changes`` may be news."""
        for topic in changes.topics:
            self._wake_all(self._topics.get(topic, ()))
        for key in changes.keys:
            self._wake_all(self._topics.get(_KEY + key, ()))
            for prefix, waiting in self._prefixes.items():
                if key.startswith(prefix):
                    self._wake_all(waiting)

    def wake_everyone(self) -> None:
        """Wake every query: the state was replaced, or the registry is closing."""
        for waiting in (*self._topics.values(), *self._prefixes.values()):
            self._wake_all(waiting)

    @staticmethod
    def _wake_all(waiting: Iterable[asyncio.Future[None]]) -> None:
        for woken in waiting:
            _wake(woken)


def _wake(woken: asyncio.Future[None]) -> None:
    if not woken.done():
        woken.set_result(None)


def _leave(
    places: dict[str, set[asyncio.Future[None]]], name: str, woken: asyncio.Future[None]
) -> None:
    waiting = places[name]
    waiting.discard(woken)
    if not waiting:
        del places[name]
