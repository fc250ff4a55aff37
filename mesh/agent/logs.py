"""The agent's log: one JSON object a line on standard error, fields as they were given.

The same shape as the other programs of the mesh write, without the library they use for it.
"""

from __future__ import annotations

import json
import logging
import sys
from datetime import UTC, datetime
from typing import Final

from mesh.aio import journal

_STANDARD: Final = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


class JsonFormatter(logging.Formatter):
    """Writes a record and its ``extra`` fields as JSON."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        line: dict[str, object] = {
            "timestamp": datetime.fromtimestamp(record.created, UTC).isoformat(),
            "level": record.levelname.lower(),
            "logger": record.name,
            "event": record.getMessage(),
        }
        line.update((key, value) for key, value in vars(record).items() if key not in _STANDARD)
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str)


def configure(level: str, *, to_journal: bool = False) -> None:
    """Send everything from ``level`` up to standard error, which may be the journal."""
    handler = logging.StreamHandler(sys.stderr)
    form = JsonFormatter()
    handler.setFormatter(journal.Prefixed(form) if to_journal else form)
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
