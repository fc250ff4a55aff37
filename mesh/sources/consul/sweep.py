"""Which services to look at when more are needed than may be watched.  Pure.

One wake of ``health/state/any`` says that some check changed.  Comparing it with the answer
before tells whose: most wakes concern one service, or only a check's output and so nobody.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterable, Mapping

from mesh.clients.consul import HealthCheck
from mesh.model.names import SIDECAR_SUFFIX

Checks = Mapping[tuple[str, str], HealthCheck]


def by_key(checks: Iterable[HealthCheck]) -> dict[tuple[str, str], HealthCheck]:
    """Return ``checks`` by node and check id."""
    return {(check.node, check.check_id): check for check in checks}


def touched(before: Checks, after: Checks) -> tuple[frozenset[str], frozenset[str]]:
    """Return the services, and the nodes, with a check that came, went or changed its status.

    A sidecar's check counts for the service that it stands for.
    """
    services: set[str] = set()
    nodes: set[str] = set()
    for key in before.keys() | after.keys():
        old, new = before.get(key), after.get(key)
        if old is not None and new is not None and old.status == new.status:
            continue
        check = new or old
        if check is None:
            continue
        if check.service_id:
            services.add(check.service_name.removesuffix(SIDECAR_SUFFIX))
        else:
            nodes.add(check.node)
    return frozenset(services), frozenset(nodes)


class Due:
    """Services to be fetched, each once however often it was asked for; the urgent first."""

    def __init__(self) -> None:
        """Start with nothing due."""
        self._urgent: deque[str] = deque()
        self._later: deque[str] = deque()
        self._waiting: set[str] = set()
        self._under_way: set[str] = set()

    def add(self, services: Collection[str], *, urgent: bool = False) -> None:
        """Ask for ``services``."""
        queue = self._urgent if urgent else self._later
        for service in sorted(services):
            if service not in self._waiting or urgent:
                self._waiting.add(service)
                queue.append(service)

    def take(self) -> str | None:
        """Return the next that nobody is fetching; None if there is none now."""
        for queue in (self._urgent, self._later):
            for _ in range(len(queue)):
                service = queue.popleft()
                if service not in self._waiting:
                    continue  # it was urgent too, and is done
                if service in self._under_way:
                    queue.append(service)
                    continue
                self._waiting.discard(service)
                self._under_way.add(service)
                return service
        return None

    def done(self, service: str) -> None:
        """Note that ``service`` was fetched; it may have become due again meanwhile."""
        self._under_way.discard(service)

    def is_under_way(self, service: str) -> bool:
        """Whether somebody is fetching ``service``."""
        return service in self._under_way
