"""An embedded registry in its own process, so that a test can kill it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from types import TracebackType
from typing import Self


class EmbeddedProcess:
    """Context manager over a running registry; ``url`` is where it answers."""

    def __init__(self, directory: Path, token: str = "") -> None:
        """Keep the state below ``directory``."""
        self._command = [sys.executable, "-m", "tests.embedded.serve", str(directory), token]
        self._process: subprocess.Popen[str] | None = None
        self.url = ""

    def __enter__(self) -> Self:
        """Start, and wait until it answers."""
        self._process = subprocess.Popen(self._command, stdout=subprocess.PIPE, text=True)
        if self._process.stdout is None:
            raise AssertionError
        self.url = self._process.stdout.readline().strip()
        if not self.url:
            self.kill()
            raise RuntimeError("the embedded registry did not start; see its output above")
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """End the process."""
        self.kill()

    def kill(self) -> None:
        """End the process as a crash would (SIGKILL)."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.wait()
            if process.stdout is not None:
                process.stdout.close()
