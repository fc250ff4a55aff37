"""A fleet of simulated proxies in a process of its own, told what to do by a bench.

``python -m tests.bench.fleet PLAN`` reads a plan (:func:`~tests.bench.plan.read_plan`), then
commands, one JSON object a line, from stdin, and answers on stdout:

``{"do": "up", "concurrency": 64, "timeout": 60}``
    Connect everybody.  Answers ``{"event": "up", "proxies", "complete", "failed", "began",
    "last_ack", "seconds"}`` when the last proxy has acknowledged all that it refers to, or at
    the timeout.
``{"do": "expect", "id": 1, "name": "api", "type": URL, "version": V, "gone": false,
"proxies": [0, 5], "timeout": 10}``
    Arm a watch, answered at once by ``{"event": "armed", "id", "proxies"}``; make the change
    after that.  Then ``{"event": "reached", "id", "first", "last", "proxies", "missing"}`` when
    every proxy has acknowledged a response with that resource (or, ``gone``, its removal), or
    at the timeout.  ``name``, ``type`` and ``version`` may be null: any.  Without ``proxies``,
    all that have the resource now (all at all, without a name).
``{"do": "stats"}``
    ``{"event": "stats", "connected", "complete", "received", "responses", "cpu", "statuses"}``.
``{"do": "down"}``
    Disconnect and exit; so does the end of stdin.

Times are CLOCK_MONOTONIC, which all processes of a machine share.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import json
import ssl
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mesh.aio.tasks import Tasks
from mesh.xds.collector import tune_gc
from tests.bench.plan import Member, Plan, read_plan
from tests.bench.simulated import Ack, SimulatedProxy

Json = dict[str, Any]


@dataclass(slots=True)
class Watch:
    """Waits until each of ``missing`` has acknowledged something."""

    id: int
    name: str | None
    type_url: str | None
    version: str | None
    gone: bool
    missing: set[int]
    reached: int = 0
    first: float | None = None
    last: float | None = None
    done: asyncio.Event = field(default_factory=asyncio.Event)

    def hear(self, ack: Ack) -> None:
        """Take note of ``ack`` if it is what is waited for."""
        if ack.proxy in self.missing and self._matches(ack):
            self.missing.discard(ack.proxy)
            self.reached += 1
            self.first = self.first or ack.at
            self.last = ack.at
            if not self.missing:
                self.done.set()

    def _matches(self, ack: Ack) -> bool:
        if self.type_url is not None and ack.type_url != self.type_url:
            return False
        if self.name is None:
            return True
        if self.gone:
            return self.name in ack.removed
        found = ack.changed.get(self.name)
        return found is not None and self.version in (None, found)


class Fleet:
    """All proxies of a plan."""

    def __init__(self, plan: Plan, tell: Callable[[Json], None]) -> None:
        """Prepare; ``tell`` takes the answers."""
        self._plan = plan
        self._tell = tell
        self._proxies: list[SimulatedProxy] = []
        self._watches: dict[int, Watch] = {}
        self._contexts: dict[tuple[str, str], ssl.SSLContext] = {}
        self._finished: set[int] = set()
        self._all_finished = asyncio.Event()

    def prepare(self) -> None:
        """Load every certificate, so that this is not part of any figure."""
        for member in self._plan.members:
            self._context(member)

    async def up(self, concurrency: int = 64, timeout: float = 60.0) -> None:  # noqa: ASYNC109 - the figure's own bound, given by the bench
        """Connect everybody and wait until each is complete."""
        began = time.monotonic()
        waiting = list(enumerate(self._plan.members))
        waiting.reverse()
        failed: list[str] = []
        async with Tasks("fleet") as tasks:
            for number in range(concurrency):
                tasks.spawn(f"connect {number}", self._connect(waiting, failed))
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(timeout):
                    await self._all_finished.wait()
        done = [one.complete_at for one in self._proxies if one.complete_at is not None]
        last = max(done, default=began)
        self._tell(
            {
                "event": "up",
                "proxies": len(self._plan.members),
                "complete": len(done),
                "failed": failed[:5],
                "began": began,
                "last_ack": last,
                "seconds": last - began,
            }
        )

    async def expect(self, watch: Watch, timeout: float) -> None:  # noqa: ASYNC109 - likewise
        """Wait for ``watch``, which :meth:`arm` made, and tell."""
        # At the timeout, what is missing is told.
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout):
                await watch.done.wait()
        del self._watches[watch.id]
        self._tell(
            {
                "event": "reached",
                "id": watch.id,
                "first": watch.first,
                "last": watch.last,
                "proxies": watch.reached,
                "missing": sorted(watch.missing),
            }
        )

    def arm(self, command: Json) -> Watch:
        """Begin to watch for what an ``expect`` command describes."""
        name, type_url = command.get("name"), command.get("type")
        chosen = command.get("proxies")
        if chosen is None:
            chosen = [
                one.number
                for one in self._proxies
                if name is None or type_url is None or one.has(type_url, name)
            ]
        watch = Watch(
            command["id"],
            name,
            type_url,
            command.get("version"),
            command.get("gone", False),
            set(chosen),
        )
        if not watch.missing:
            watch.done.set()
        self._watches[watch.id] = watch
        self._tell({"event": "armed", "id": watch.id, "proxies": len(watch.missing)})
        return watch

    def stats(self) -> None:
        """Tell how everybody is."""
        living = [one for one in self._proxies if not one.lost]
        self._tell(
            {
                "event": "stats",
                "connected": sum(one.established.done() for one in living),
                "complete": sum(one.complete_at is not None for one in living),
                "received": sum(one.received for one in self._proxies),
                "responses": sum(one.responses for one in self._proxies),
                "cpu": time.process_time(),
                "statuses": dict(Counter(one.status for one in self._proxies if one.status)),
            }
        )

    def down(self) -> None:
        """Disconnect everybody."""
        for one in self._proxies:
            one.close()

    def heard(self, ack: Ack) -> None:
        """Pass an acknowledgement to who waits for it."""
        for watch in self._watches.values():
            watch.hear(ack)

    def finished(self, proxy: SimulatedProxy) -> None:
        """Note that ``proxy`` is complete, or lost before it was."""
        self._finished.add(proxy.number)
        if len(self._finished) == len(self._plan.members):
            self._all_finished.set()

    async def _connect(self, waiting: list[tuple[int, Member]], failed: list[str]) -> None:
        loop = asyncio.get_running_loop()
        while waiting:
            number, member = waiting.pop()
            proxy = SimulatedProxy(
                number, member.need, self._context(member), self._plan.server_name, self
            )
            self._proxies.append(proxy)
            try:
                await loop.create_connection(
                    functools.partial(_same, proxy), self._plan.host, self._plan.port
                )
                await proxy.established
            except OSError as error:
                failed.append(f"proxy {number}: {error}")
                self.finished(proxy)

    def _context(self, member: Member) -> ssl.SSLContext:
        files = (member.certificate, member.key)
        context = self._contexts.get(files)
        if context is None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            context.load_verify_locations(self._plan.bundle)
            context.load_cert_chain(*files)
            context.set_alpn_protocols(["h2"])
            self._contexts[files] = context
        return context


def _same(proxy: SimulatedProxy) -> SimulatedProxy:
    return proxy


async def obey(fleet: Fleet, commands: asyncio.StreamReader) -> None:
    """Take commands until there are no more."""
    async with Tasks("watches") as tasks:
        while line := await commands.readline():
            command = json.loads(line)
            match command.get("do"):
                case "up":
                    await fleet.up(command.get("concurrency", 64), command.get("timeout", 60.0))
                case "expect":
                    watch = fleet.arm(command)
                    waited = fleet.expect(watch, command.get("timeout", 10.0))
                    tasks.spawn(f"expect {watch.id}", waited)
                case "stats":
                    fleet.stats()
                case "down":
                    break
                case other:
                    raise SystemExit(f"fleet: {other!r} is not a command: up, expect, stats, down")
    fleet.down()


async def main(plan: Path) -> None:
    """Run the fleet of ``plan`` over stdin and stdout."""
    loop = asyncio.get_running_loop()
    commands = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(commands), sys.stdin)

    def tell(answer: Json) -> None:
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()

    fleet = Fleet(read_plan(plan), tell)
    fleet.prepare()
    tune_gc()
    tell({"event": "ready"})
    await obey(fleet, commands)


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1])))
