"""The units of :mod:`tests.sharing.units`, handed out as pytest-xdist asks for them."""

from __future__ import annotations

from typing import Any

from xdist.scheduler import LoadScopeScheduling

from tests.sharing.units import rank, unit_of


class Schedule(LoadScopeScheduling):  # type: ignore[misc] # published without types
    """Hands out whole units, the longest first."""

    def _split_scope(self, nodeid: str) -> str:
        return unit_of(nodeid)

    def _assign_work_unit(self, node: Any) -> None:
        self.workqueue.move_to_end(min(self.workqueue, key=rank), last=False)
        super()._assign_work_unit(node)
