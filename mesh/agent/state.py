"""The state directory: all that one proxy remembers, its owner's only, one agent at a time.

A file here is either the old one or the new one, whole, whenever the machine stops: contents go to
a temporary file, are flushed to disk, and take the name by rename.  Envoy works in the same
directory and watches those renames.

The lock is on a file that is never replaced or removed, so everybody locks the same inode.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from mesh.agent.errors import StateError

LOCK: Final = "agent.lock"
_PRIVATE_FILE: Final = 0o600
_PRIVATE_DIRECTORY: Final = 0o700


class StateDir:
    """One proxy's directory, made if need be."""

    def __init__(self, path: Path) -> None:
        """Make ``path``, or check that it is a directory of ours that nobody else may enter.

        Raises:
            StateError: it is not, or cannot be made so.

        """
        self.path = path
        try:
            path.mkdir(parents=True, exist_ok=True, mode=_PRIVATE_DIRECTORY)
            found = path.stat()
            if found.st_uid != os.geteuid():
                raise StateError(
                    f"state directory {path} belongs to user {found.st_uid}, not to this one",
                    f"Run as its owner, or `chown -R {os.geteuid()} {path}`.",
                )
            if stat.S_IMODE(found.st_mode) != _PRIVATE_DIRECTORY:
                path.chmod(_PRIVATE_DIRECTORY)
            self._fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
        except OSError as error:
            raise StateError(
                f"state directory {path} cannot be used: {error.strerror}",
                "Name a directory that this user may write with --state-dir.",
            ) from error

    def close(self) -> None:
        """Let go of the directory."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def write(self, name: str, content: bytes | str) -> None:
        """Replace the file ``name``, atomically and durably, readable by its owner only."""
        temporary = f".{name}.new"
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary, dir_fd=self._fd)
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
        fd = os.open(temporary, flags, _PRIVATE_FILE, dir_fd=self._fd)
        with os.fdopen(fd, "wb") as file:
            file.write(content.encode() if isinstance(content, str) else content)
            file.flush()
            os.fsync(file.fileno())
        os.rename(temporary, name, src_dir_fd=self._fd, dst_dir_fd=self._fd)
        os.fsync(self._fd)

    def read(self, name: str) -> bytes | None:
        """Return the content of the file ``name``, or None if there is none."""
        try:
            return (self.path / name).read_bytes()
        except FileNotFoundError:
            return None

    def remove(self, name: str) -> None:
        """Remove the file ``name`` if it is there."""
        (self.path / name).unlink(missing_ok=True)

    def link(self, name: str, target: Path) -> None:
        """Let ``name`` be a symbolic link to ``target``, atomically."""
        temporary = f".{name}.new"
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary, dir_fd=self._fd)
        os.symlink(target, temporary, dir_fd=self._fd)
        os.rename(temporary, name, src_dir_fd=self._fd, dst_dir_fd=self._fd)

    def socket(self, name: str) -> str:
        """Return a path of the Unix socket ``name`` that is short enough for the kernel.

        A socket's address holds 107 bytes; the directory's own path may be longer.
        """
        proc = Path(f"/proc/self/fd/{self._fd}")
        return str((proc if proc.exists() else self.path) / name)

    @contextlib.contextmanager
    def lock(self) -> Iterator[None]:
        """Be the only agent on this directory.

        Raises:
            StateError: another agent is; the message has its process id.

        """
        fd = os.open(LOCK, os.O_RDWR | os.O_CREAT, _PRIVATE_FILE, dir_fd=self._fd)
        try:
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                holder = os.pread(fd, 32, 0).decode(errors="replace").strip() or "unknown"
                raise StateError(
                    f"another agent (process {holder}) runs on state directory {self.path}",
                    "Stop it, or give this proxy a directory of its own with --state-dir.",
                ) from error
            # The number is for people; on a full disk the lock must do without.
            with contextlib.suppress(OSError):
                os.ftruncate(fd, 0)
                os.pwrite(fd, f"{os.getpid()}\n".encode(), 0)
            yield
        finally:
            os.close(fd)
