"""What the traffic tests read from answers."""

from __future__ import annotations

from typing import Any

from tests.traffic.bed import Bed
from tests.traffic.calls import Answer


async def served_by(bed: Bed, path: str = "/", **options: Any) -> str:
    """Call ``api``; return the service whose application says it got exactly that request."""
    answer = await bed.call(path, **options)
    assert answer.status == 200
    assert answer.json["path"] == path
    assert answer.json["method"] == options.get("method", "GET")
    return answer.instance.rpartition("-")[0]


async def all_served_by(bed: Bed, *paths: str, **options: Any) -> set[str]:
    """Call ``api`` for each of ``paths``; return the services that answered."""
    return {await served_by(bed, path, **options) for path in paths}


def values(answer: Answer, name: str) -> list[str]:
    """Return every value of a header of ``answer``."""
    return [value for key, value in answer.headers.items() if key.lower() == name]


def within(count: int, of: int, share: float) -> bool:
    """Whether ``count`` of ``of`` draws is what a chance of ``share`` may well give.

    Five standard deviations: a fair draw is outside of them once in two million.
    """
    return bool(abs(count - of * share) <= 5 * (of * share * (1 - share)) ** 0.5)
