"""What the service manager (systemd) told this process, by variables, when it started it.

See sd_notify(3), sd_watchdog_enabled(3), and ``JOURNAL_STREAM`` in systemd.exec(5).
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Final

_MICRO: Final = 1_000_000
_STDERR: Final = 2


@dataclass(frozen=True, slots=True)
class ServiceManager:
    """Where to tell it how the service is, and how often; empty and zero if nobody listens."""

    address: str = ""
    """The Unix socket; one that begins with ``@`` is abstract."""
    watchdog: float = 0.0
    """Seconds of silence after which it takes the service for hung."""


def take() -> ServiceManager:
    """Read the variables and remove them: what this process starts has nothing to tell."""
    address = os.environ.pop("NOTIFY_SOCKET", "")
    micro = os.environ.pop("WATCHDOG_USEC", "")
    ours = os.environ.pop("WATCHDOG_PID", "") in {"", str(os.getpid())}
    watchdog = int(micro) / _MICRO if address and ours and micro.isdecimal() else 0.0
    return ServiceManager(address, watchdog)


def is_journal() -> bool:
    """Whether standard error is the journal, which reads a priority in front of each line."""
    try:
        found = os.fstat(_STDERR)
    except OSError:  # it is closed
        return False
    return os.getenv("JOURNAL_STREAM") == f"{found.st_dev}:{found.st_ino}"
