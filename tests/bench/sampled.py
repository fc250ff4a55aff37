"""``mesh`` with a profiler that samples: where a zone's time or memory goes, phase by phase.

``python -m tests.bench.sampled time|memory DIRECTORY ARGUMENT...`` runs ``mesh ARGUMENT...``.
SIGUSR1 ends a phase and writes ``DIRECTORY/<pid>-<phase>.txt``.  Of time: a thread looks at the
main thread's stack every millisecond; waiting for events is left out.  Of memory: what Python
allocated in the phase and still holds, by line (C libraries, OpenSSL among them, are not seen).
"""

from __future__ import annotations

import itertools
import os
import signal
import sys
import threading
import time
import tracemalloc
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Final

from mesh.cli.main import app

_EVERY: Final = 0.001
_SHOWN: Final = 100
_WAITING: Final = "selectors.py"


class Sampler:
    """Counts where the main thread is."""

    def __init__(self) -> None:
        """Begin at once."""
        self._own: Counter[str] = Counter()
        self._whole: Counter[str] = Counter()
        self._began = time.monotonic()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._main = threading.main_thread().ident or 0
        # The sampler must get its turn while the main thread computes.
        sys.setswitchinterval(_EVERY / 2)
        self._thread.start()

    def report(self) -> str:
        """Return what was counted, and start again."""
        own, whole = self._own, self._whole
        self._own, self._whole = Counter(), Counter()
        total = own.total()
        now = time.monotonic()
        lines = [f"{total} busy samples in {now - self._began:.1f} s"]
        self._began = now
        for title, counted in (("own", own), ("with callees", whole)):
            lines.append(f"\n-- {title}")
            lines += [f"{n / total:7.1%} {where}" for where, n in counted.most_common(_SHOWN)]
        return "\n".join(lines) + "\n"

    def _run(self) -> None:
        while True:
            time.sleep(_EVERY)
            frame = sys._current_frames().get(self._main)  # noqa: SLF001 - documented for debuggers
            if frame is not None and not frame.f_code.co_filename.endswith(_WAITING):
                self._count(frame)

    def _count(self, frame: FrameType) -> None:
        code = frame.f_code
        self._own[f"{_short(code.co_filename)}:{frame.f_lineno} {code.co_qualname}"] += 1
        seen = set()
        walked: FrameType | None = frame
        while walked is not None:
            code = walked.f_code
            seen.add(f"{_short(code.co_filename)} {code.co_qualname}")
            walked = walked.f_back
        self._whole.update(seen)


class Tracer:
    """Compares what is allocated."""

    def __init__(self) -> None:
        """Begin at once."""
        tracemalloc.start()
        self._before = tracemalloc.take_snapshot()

    def report(self) -> str:
        """Return what has come since the last time."""
        now = tracemalloc.take_snapshot()
        lines = []
        for by in ("filename", "lineno"):
            found = now.compare_to(self._before, by)
            lines.append(f"\n-- {sum(one.size_diff for one in found) / 1024:,.0f} KB, by {by}")
            lines += [
                f"{one.size_diff / 1024:9,.0f} KB {one.count_diff:8} "
                f"{_short(one.traceback[0].filename)}:{one.traceback[0].lineno}"
                for one in found[:_SHOWN]
            ]
        self._before = now
        return "\n".join(lines) + "\n"


def _short(path: str) -> str:
    return "/".join(Path(path).parts[-3:])


def main(kind: str, directory: Path) -> None:
    """Profile ``kind`` and run the command line that follows."""
    phases = itertools.count()
    report: Callable[[], str] = (Tracer if kind == "memory" else Sampler)().report

    def write(number: int, frame: FrameType | None) -> None:
        (directory / f"{os.getpid()}-{next(phases)}.txt").write_text(report())

    signal.signal(signal.SIGUSR1, write)
    app()


if __name__ == "__main__":
    _kind, _directory = sys.argv[1:3]
    del sys.argv[1:3]
    main(_kind, Path(_directory))
