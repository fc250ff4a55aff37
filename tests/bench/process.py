"""What a process has used, as Linux counts it."""

from __future__ import annotations

import os
from pathlib import Path


def cpu(pid: int) -> float:
    """Return the CPU seconds, user's and system's, of all threads of a process."""
    # The name in parentheses may hold spaces; user and system time are fields 14 and 15.
    text = Path(f"/proc/{pid}/stat").read_text()
    user, system = text.rpartition(")")[2].split()[11:13]
    return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")


def rss(pid: int) -> float:
    """Return the resident memory of a process in KB."""
    text = Path(f"/proc/{pid}/status").read_text()
    return float(text.partition("VmRSS:")[2].split()[0])
