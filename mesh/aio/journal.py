"""Log lines as the journal reads them: a priority in front of each, as sd-daemon(3) has it.

``journalctl -p warning`` then shows what the program itself calls a warning, or worse.
"""

from __future__ import annotations

import logging
from typing import Final

_ERROR: Final = 3
_PRIORITIES: Final = (
    (logging.CRITICAL, 2),
    (logging.ERROR, _ERROR),
    (logging.WARNING, 4),
    (logging.INFO, 6),
)
_DEBUG: Final = 7


class Prefixed(logging.Formatter):
    """Puts the record's priority in front of every line that another formatter makes."""

    def __init__(self, inner: logging.Formatter) -> None:
        """``inner`` makes the lines."""
        super().__init__()
        self._inner = inner

    def format(self, record: logging.LogRecord) -> str:
        """Return the lines."""
        return prefixed(self._inner.format(record), priority(record.levelno))


def priority(level: int) -> int:
    """Return syslog's priority of one of :mod:`logging`'s levels."""
    return next((found for floor, found in _PRIORITIES if level >= floor), _DEBUG)


def prefixed(text: str, number: int = _ERROR) -> str:
    """Return ``text`` with a priority in front of each line: that of an error, if none is said."""
    return "\n".join(f"<{number}>{line}" for line in text.splitlines())
