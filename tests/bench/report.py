"""How a bench reports: a table for people, then one JSON object per figure for machines."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, TextIO

Params = Mapping[str, str | int | float]
TIMES: Final = "times"
"""The unit of a ratio, of which people want to see more than the first decimal."""


@dataclass(frozen=True, slots=True)
class Figure:
    """One measured value and what was varied to get it."""

    bench: str
    metric: str
    value: float
    unit: str
    params: Params

    def to_json(self) -> str:
        """Return the figure on one line."""
        return json.dumps(
            {
                "bench": self.bench,
                "metric": self.metric,
                "value": round(self.value, 3),
                "unit": self.unit,
                "params": dict(self.params),
            }
        )


def quantile(values: Sequence[float], share: float) -> float:
    """Return the smallest of ``values`` that at least ``share`` of them do not exceed."""
    if not values:
        raise ValueError("no values to take a quantile of")
    ordered = sorted(values)
    return ordered[max(0, -(-len(ordered) * round(share * 1000) // 1000) - 1)]


def table(figures: Sequence[Figure]) -> str:
    """Return the figures in aligned columns."""
    rows = [("bench", "metric", "value", "unit", "params")]
    rows += [
        (
            one.bench,
            one.metric,
            f"{one.value:,.3f}" if one.unit == TIMES else f"{one.value:,.1f}",
            one.unit,
            " ".join(f"{key}={value}" for key, value in one.params.items()),
        )
        for one in figures
    ]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return "\n".join(_line(row, widths) for row in rows)


def publish(figures: Sequence[Figure], out: TextIO = sys.stdout) -> None:
    """Print the table, then each figure as JSON."""
    out.write(table(figures) + "\n\n")
    out.writelines(one.to_json() + "\n" for one in figures)
    out.flush()


def _line(row: Sequence[str], widths: Sequence[int]) -> str:
    cells = [
        # Numbers line up at their right.
        cell.rjust(width) if column == 2 else cell.ljust(width)
        for column, (cell, width) in enumerate(zip(row, widths, strict=True))
    ]
    return "  ".join(cells).rstrip()
