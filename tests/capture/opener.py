"""Opens sockets as a user and in a cgroup, and hands them over: ``opener.py DESCRIPTOR CGROUP``.

A socket is that of who opened it, whoever uses it.  The user is changed for one system call at a
time, by setfsuid(2); the cgroup is a process's, so there is one process for each.
"""

from __future__ import annotations

import ctypes
import os
import socket
import struct
import sys
from pathlib import Path


def main() -> None:
    """Answer requests, each a family, a kind and a uid, until the other side is gone."""
    libc = ctypes.CDLL(None)
    if sys.argv[2]:
        (Path(sys.argv[2]) / "cgroup.procs").write_text(str(os.getpid()))
    with socket.socket(fileno=int(sys.argv[1])) as asked:
        while request := asked.recv(12):
            family, kind, uid = struct.unpack("III", request)
            libc.setfsuid(uid)
            with socket.socket(family, kind) as opened:
                libc.setfsuid(0)
                socket.send_fds(asked, [b"."], [opened.fileno()])


if __name__ == "__main__":
    main()
