"""A daemon's log: one JSON object a line on standard error, or text for people.

Modules log through :mod:`logging` with fields in ``extra``; structlog writes them.
"""

from __future__ import annotations

import logging
import sys
from typing import Any, Final, Literal

import structlog

_FIELDS: Final[tuple[Any, ...]] = (
    structlog.stdlib.add_log_level,
    structlog.stdlib.add_logger_name,
    structlog.stdlib.ExtraAdder(),
    structlog.processors.TimeStamper(fmt="iso", utc=True),
)


def configure(level: str, form: Literal["json", "text"]) -> None:
    """Send everything from ``level`` up to standard error."""
    last: Any = structlog.processors.JSONRenderer()
    if form == "text":
        last = structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=_FIELDS,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.format_exc_info,
                last,
            ],
        )
    )
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
