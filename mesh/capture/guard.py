"""The guard: a process of its own that puts the earlier table back unless it is told not to.

``python -m mesh.capture.guard SOCKET SCRIPT SECONDS NFT...``.  It listens on ``SOCKET``, says
``ready`` to whoever applies the new table, and waits for ``keep``.  Anything else, the end of the
connection (whoever applied it was killed), or nothing within ``SECONDS``: it has ``SCRIPT`` carried
out and says ``restored``.  The session that started it may be gone by then.
"""

from __future__ import annotations

import contextlib
import signal
import socket
import sys
from pathlib import Path
from typing import Final

from mesh.capture.errors import CaptureError
from mesh.capture.nft import Nft
from mesh.capture.table import removal

READY: Final = b"ready\n"
KEEP: Final = b"keep\n"
KEPT: Final = b"kept\n"
RESTORE: Final = b"restore\n"
RESTORED: Final = b"restored\n"
REMOVED: Final = b"removed\n"
"""The earlier table could not be put back, so there is none."""
_ARRIVAL: Final = 30.0


def main(arguments: list[str]) -> int:
    """Guard, and return the exit code: 0 if the new table stands, 1 if it was taken back."""
    place, script, seconds, *command = arguments
    for each in (signal.SIGHUP, signal.SIGINT):
        signal.signal(each, signal.SIG_IGN)
    earlier = Path(script).read_text(encoding="utf-8")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(place)
        listener.listen(1)
        listener.settimeout(_ARRIVAL)
        try:
            connection, _ = listener.accept()
        except TimeoutError:
            # Nobody came, so nothing was applied.
            return 0
        finally:
            Path(place).unlink()
            Path(script).unlink()
    with connection:
        connection.settimeout(float(seconds))
        connection.sendall(READY)
        keeps = _said(connection) == KEEP
        done = KEPT if keeps else restore(Nft(command), earlier)
        with contextlib.suppress(OSError):
            # Whoever applied the table may be gone: that is what the guard is for.
            connection.sendall(done)
    return 0 if keeps else 1


def restore(nft: Nft, script: str) -> bytes:
    """Put the earlier table back, or at least none in its place; return which of both.

    Raises:
        CaptureError: neither can be done.

    """
    try:
        nft.load(script)
    except CaptureError as error:
        # What it names may be gone, as a cgroup.  Without a table, nothing is captured.
        sys.stderr.write(f"the earlier table cannot be restored: {error}\n")
        nft.load(removal())
        return REMOVED
    return RESTORED


def _said(connection: socket.socket) -> bytes:
    try:
        return connection.recv(len(KEEP) + 1)
    except OSError:
        return b""


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
