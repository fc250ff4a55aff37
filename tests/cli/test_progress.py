"""The spinner: on a terminal and only there."""

from __future__ import annotations

import os
import subprocess
import sys

CHILD = (
    "import sys\n"
    "from mesh.cli import progress\n"
    "with progress.waiting('Asking Consul', patience=0.0):\n"
    "    sys.stdin.readline()\n"
    "print('done')\n"
)


def test_a_terminal_shows_what_is_waited_for() -> None:
    ours, theirs = os.openpty()
    process = subprocess.Popen(
        [sys.executable, "-c", CHILD],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=theirs,
        env={**os.environ, "TERM": "xterm"},  # noqa: TID251 - the child needs PATH and HOME
    )
    os.close(theirs)
    try:
        seen = b""
        while b"Asking Consul" not in seen:
            seen += os.read(ours, 4096)
        printed, _ = process.communicate(b"\n", timeout=30)
    finally:
        process.kill()
        process.wait()
        os.close(ours)
    assert printed == b"done\n"


def test_a_pipe_stays_clean() -> None:
    ran = subprocess.run(
        [sys.executable, "-c", CHILD], input=b"\n", capture_output=True, timeout=30, check=True
    )
    assert (ran.stdout, ran.stderr) == (b"done\n", b"")
