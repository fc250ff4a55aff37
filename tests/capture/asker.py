"""Asks the C library for names, as any program does: ``asker.py NAME...``.

It prints a line for each: the addresses, or how it failed; and the seconds that it took.
"""

from __future__ import annotations

import json
import socket
import sys
import time


def main() -> None:
    """Ask, and print what came of it."""
    for name in sys.argv[1:]:
        began = time.monotonic()
        try:
            found = sorted({str(each[4][0]) for each in socket.getaddrinfo(name, None)})
        except socket.gaierror as error:
            found = [str(error.strerror)]
        sys.stdout.write(json.dumps([found, time.monotonic() - began]) + "\n")


if __name__ == "__main__":
    main()
