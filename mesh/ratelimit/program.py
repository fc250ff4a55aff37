"""``mesh ratelimit run``: one instance, from settings to shutdown.

Instances share nothing but Redis: several run side by side for more than one core's worth of
requests, and any may end.  At the end, new calls are refused, those under way are answered, and
only then the counters are let go.
"""

from __future__ import annotations

import asyncio
import logging
import signal
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Final

from mesh.aio import logs
from mesh.aio.clock import Clock, SystemClock
from mesh.aio.health import health_app
from mesh.aio.notify import Notifier
from mesh.aio.tasks import Tasks
from mesh.config import service_manager
from mesh.config.ratelimit import RateLimitSettings
from mesh.config.service_manager import ServiceManager
from mesh.config.types import HostPort
from mesh.ratelimit import health, service
from mesh.ratelimit.metrics import Metrics
from mesh.ratelimit.redis_store import RedisStore
from mesh.ratelimit.service import RateLimitService
from mesh.ratelimit.store import MemoryStore, Store

logger = logging.getLogger(__name__)

_REPORT_EVERY: Final = 5.0


@dataclass(frozen=True, slots=True)
class Running:
    """Where a started instance listens."""

    grpc: HostPort
    health: HostPort
    reasons: Callable[[], Sequence[str]]
    """Why it cannot count at the moment, if it cannot."""


def run(settings: RateLimitSettings) -> None:
    """Run until SIGTERM or SIGINT.

    Raises:
        PortTakenError: a port cannot be had.

    """
    to_journal = service_manager.is_journal()
    logs.configure(settings.log.level, settings.log.format, to_journal=to_journal)
    asyncio.run(_until_signal(settings, service_manager.take()))


@asynccontextmanager
async def serving(settings: RateLimitSettings, clock: Clock) -> AsyncIterator[Running]:
    """Run an instance for as long as the block runs; it must not outlive its task.

    Raises:
        PortTakenError: a port cannot be had.

    """
    metrics, ending = Metrics(), asyncio.Event()
    store = _store(settings, metrics, clock)

    def readiness() -> list[str]:
        return [*store.reasons(), *(["the service is ending"] if ending.is_set() else [])]

    async with AsyncExitStack() as stack:
        stack.push_async_callback(store.close)
        tasks = await stack.enter_async_context(Tasks("ratelimit"))
        tasks.spawn("keep the counters", store.keep(), forever=True)
        app = health_app(metrics, readiness)
        health_place = await health.serve(stack, app, settings.listen.health)
        handler = RateLimitService(store, metrics, headers=settings.response_headers != "none")
        server, grpc_place = await service.start(handler, settings.listen.grpc)
        stack.push_async_callback(server.stop, settings.grace.total_seconds())
        stack.callback(ending.set)
        logger.info(
            "rate limit service listens",
            extra={
                "grpc": str(grpc_place),
                "health": str(health_place),
                "counters": settings.redis.url if settings.redis else "memory",
            },
        )
        yield Running(grpc_place, health_place, readiness)


async def _until_signal(settings: RateLimitSettings, manager: ServiceManager) -> None:
    ended, clock = asyncio.Event(), SystemClock()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, ended.set)
    notifier = Notifier(clock, manager.address, manager.watchdog)
    async with notifier.told("ratelimit") as tasks, serving(settings, clock) as running:
        notifier.ready()
        tasks.spawn("report", notifier.follow(lambda: _in_words(running), _REPORT_EVERY))
        await ended.wait()
        notifier.stopping()
        logger.info("rate limit service ends")


def _in_words(running: Running) -> str:
    """Return how this instance is, as the operator reads it in ``systemctl status``."""
    reasons = running.reasons()
    how = f"not ready: {', '.join(reasons)}" if reasons else "ready"
    return f"{how}; counts for proxies on {running.grpc}"


def _store(settings: RateLimitSettings, metrics: Metrics, clock: Clock) -> Store:
    if settings.redis is not None:
        redis = RedisStore(settings.redis, clock)
        metrics.watch(lambda: not redis.reasons(), lambda: 0)
        return redis
    kept = MemoryStore(clock, settings.memory.max_counters)
    metrics.watch(lambda: not kept.reasons(), lambda: len(kept.memory))
    return kept
