"""Tokens that the zone makes for itself: files that only their owner reads."""

from __future__ import annotations

import os
import secrets
import stat
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Final

from mesh.model.violations import InvalidInputError, Violation

_BYTES: Final = 32
_SHORTEST: Final = 20
_OTHERS: Final = stat.S_IRWXG | stat.S_IRWXO


class TokenFileError(InvalidInputError):
    """The token's file cannot be used; the message says why and what to do."""

    def __init__(self, path: Path, reason: str) -> None:
        """Name the file."""
        super().__init__(f"the token file {path}", (Violation("", reason),))


def read(path: Path) -> str:
    """Return the token in ``path``.

    Raises:
        TokenFileError: there is none, others may read it, or it is too short to be a secret.

    """
    try:
        mode = stat.S_IMODE(path.stat().st_mode)
        token = path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not text"
        raise TokenFileError(
            path, f"cannot be read: {reason}; run as the user who owns it, or name another"
        ) from error
    if mode & _OTHERS:
        raise TokenFileError(
            path, f"has mode {mode:o}, so others may read it; run: chmod 600 {path}"
        )
    if len(token) < _SHORTEST:
        raise TokenFileError(
            path,
            f"holds fewer than {_SHORTEST} characters; "
            f"write random ones: openssl rand -hex {_BYTES} > {path}",
        )
    return token


def read_or_make(path: Path) -> str:
    """Return the token in ``path``; make the file, with mode 0600, if there is none.

    Raises:
        TokenFileError: it can be neither read nor made.

    """
    if not path.exists():
        try:
            _make(path)
        except OSError as error:
            raise TokenFileError(
                path,
                f"cannot be made: {error.strerror}; "
                "set data_dir (or admin.token_file) to a place this user may write",
            ) from error
    return read(path)


def _make(path: Path) -> None:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    # mkstemp gives 0600 whatever the umask; a link, unlike a rename, keeps what another made.
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=".token-")
    try:
        with os.fdopen(descriptor, "w") as file:
            file.write(secrets.token_urlsafe(_BYTES) + "\n")
            file.flush()
            os.fsync(file.fileno())
        with suppress(FileExistsError):
            path.hardlink_to(temporary)
    finally:
        Path(temporary).unlink()
