"""Waiting in company: a spinner for what takes long, for people only.

It shows on stderr after two seconds and only on a terminal, so that a script, a pipe and a
quick answer never see it.
"""

from __future__ import annotations

import asyncio
import sys
import threading
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from typing import Any, Final, TypeVar

from rich.console import Console

T = TypeVar("T")

_PATIENCE: Final = 2.0


def run(what: str, work: Coroutine[Any, Any, T]) -> T:
    """Run ``work`` to its end, showing ``what`` if it takes long."""
    with waiting(what):
        return asyncio.run(work)


@contextmanager
def waiting(what: str, *, patience: float = _PATIENCE) -> Iterator[None]:
    """Show ``what`` while the block takes longer than ``patience`` seconds."""
    if not sys.stderr.isatty():
        yield
        return
    status = Console(stderr=True).status(what)
    timer = threading.Timer(patience, status.start)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
        timer.join()
        status.stop()
