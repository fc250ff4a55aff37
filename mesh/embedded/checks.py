"""Carries out the health checks of the registry's own agent.

A plan (``records.CheckPlan``) says how.  TCP and HTTP checks are tasks that try, report and
sleep; a TTL check is a timer that a heartbeat winds up; an alias check follows another
service's checks.  A service that stays critical too long is deregistered if its check asked
for it.  What a plan finds is an ordinary write of the check's status.
"""

from __future__ import annotations

import asyncio

import aiohttp
import msgspec

from mesh.aio.clock import Clock
from mesh.aio.tasks import Tasks
from mesh.embedded import catalog, probes
from mesh.embedded.core import NODE_NAME, Core
from mesh.embedded.probes import Finding
from mesh.embedded.records import Check, CheckPlan
from mesh.embedded.store import Changes, Transaction, instance

_SEVERITY = {"passing": 0, "warning": 1, "critical": 2}


class CheckRunner:
    """Runs every plan of one registry."""

    def __init__(self, core: Core, tasks: Tasks, clock: Clock) -> None:
        """Start the plans that are stored; ``tasks`` owns what runs."""
        self._core = core
        self._tasks = tasks
        self._clock = clock
        self._running: dict[str, asyncio.Task[None]] = {}
        self._reaping: dict[str, asyncio.Task[None]] = {}
        self._session = aiohttp.ClientSession()
        core.observers.append(self._observe)
        for plan in core.store.plans.all():
            self._start(plan)

    def beat(self, check_id: str) -> bool:
        """Wind up a TTL check; False if ``check_id`` is not one."""
        plan = self._core.store.plans.get(check_id)
        if plan is None or plan.kind != "ttl":
            return False
        self._start(plan)
        return True

    async def close(self) -> None:
        """Stop probing.  The tasks end with their group."""
        await self._session.close()

    def _observe(self, changes: Changes) -> None:
        for (table, key), record in changes.rows.items():
            if table == "plans":
                self._stop(key[0])
                if isinstance(record, CheckPlan):
                    self._start(record)
            elif table == "checks" and key[0] == NODE_NAME:
                check = record if isinstance(record, Check) else None
                self._consider_reaping(key[1], check)
                self._follow(check)

    def _start(self, plan: CheckPlan) -> None:
        # A heartbeat comes here too: it winds up the timer, and a service that keeps saying that
        # it fails is still deregistered in time.
        if running := self._running.pop(plan.id, None):
            running.cancel()
        self._consider_reaping(plan.id, self._core.store.checks.get(NODE_NAME, plan.id))
        if plan.kind == "ttl":
            coroutine = self._expire(plan)
        elif plan.kind in {"tcp", "http"}:
            coroutine = self._probe(plan)
        else:
            self._follow_alias(plan)
            return
        self._running[plan.id] = self._tasks.spawn(f"check {plan.id}", coroutine)

    def _stop(self, check_id: str) -> None:
        for tasks in (self._running, self._reaping):
            task = tasks.pop(check_id, None)
            if task is not None:
                task.cancel()

    async def _probe(self, plan: CheckPlan) -> None:
        thresholds = probes.Thresholds(plan)
        while True:
            if plan.kind == "tcp":
                finding = await probes.tcp(plan)
            else:
                finding = await probes.http(plan, self._session)
            if thresholds.accept(finding):
                self._report(plan.id, finding)
            await self._clock.sleep(plan.interval)

    async def _expire(self, plan: CheckPlan) -> None:
        await self._clock.sleep(plan.ttl)
        check = self._core.store.checks.get(NODE_NAME, plan.id)
        last = check.output if check is not None else ""
        suffix = f" (last output before timeout follows): {last}" if last else ""
        if check is not None and check.status != "critical":
            self._report(plan.id, Finding("critical", f"TTL expired{suffix}"))

    def _consider_reaping(self, check_id: str, check: Check | None) -> None:
        plan = self._core.store.plans.get(check_id)
        failing = check is not None and check.status == "critical"
        if failing and plan is not None and plan.deregister_after and plan.service_id:
            if check_id not in self._reaping:
                self._reaping[check_id] = self._tasks.spawn(f"reap {check_id}", self._reap(plan))
        elif task := self._reaping.pop(check_id, None):
            task.cancel()

    async def _reap(self, plan: CheckPlan) -> None:
        shortest = self._core.settings.shortest_deregister_after
        await self._clock.sleep(max(plan.deregister_after, shortest))
        # Deregistering stops this very task: it has nothing to await any more.
        self._reaping.pop(plan.id, None)
        self._core.write_soon(lambda tx: deregister(tx, plan.service_id))

    def _follow(self, changed: Check | None) -> None:
        """Bring the aliases of what ``changed`` (unknown: of anything) up to date."""
        plans = self._core.store.plans
        service_id = changed.service_id if changed is not None else ""
        for target in [service_id] if service_id else plans.values("alias"):
            for plan in plans.by("alias", target):
                self._follow_alias(plan)

    def _follow_alias(self, plan: CheckPlan) -> None:
        checks = self._core.store.checks
        places = (instance(NODE_NAME, plan.target), instance(NODE_NAME, ""))
        counted = [check for place in places for check in checks.by("instance", place)]
        others = [check for check in counted if check.id != plan.id]
        self._report(plan.id, alias(others), output_counts=True)

    def _report(self, check_id: str, finding: Finding, *, output_counts: bool = False) -> None:
        check = self._core.store.checks.get(NODE_NAME, check_id)
        if check is None:
            return
        # A probe's output often differs at every try (a date, a counter): like Consul, do not
        # wake everyone for that.
        if check.status == finding.status and check.output and not output_counts:
            return
        found = msgspec.structs.replace(check, status=finding.status, output=finding.output)
        self._core.write_soon(lambda tx: catalog.put_check(tx, found))


def alias(checks: list[Check]) -> Finding:
    """Return what the checks of a service and of its node amount to."""
    worst = max(checks, key=lambda check: _SEVERITY.get(check.status, 2), default=None)
    if worst is None:
        return Finding("passing", "No checks found.")
    if worst.status == "passing":
        return Finding("passing", "All checks passing.")
    return Finding(worst.status, f'Aliased check "{worst.name}" failing: {worst.output}')


def deregister(tx: Transaction, service_id: str) -> None:
    """Deregister a service of the registry's own agent with its checks and plans."""
    for plan in tx.store.plans.by("service", service_id):
        tx.delete(tx.store.plans, plan.id)
    catalog.delete_service(tx, NODE_NAME, service_id)
