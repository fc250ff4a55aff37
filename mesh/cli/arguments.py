"""Arguments that several commands read, write or refuse in the same way.

Nothing secret is an argument: a token comes from a file or a variable, and goes to a file.
"""

from __future__ import annotations

import os
from pathlib import Path

import typer

from mesh.model.violations import InvalidInputError, Violation


def refused(subject: str, reason: str) -> InvalidInputError:
    """Return the error that ``subject``, as in ``the option --out``, is not valid."""
    return InvalidInputError(subject, (Violation("", reason),))


def environment_only(context: typer.Context, parameter: typer.CallbackParam, value: str) -> str:
    """Take a token from its variable only; for a hidden option that has a ``-file`` beside it.

    Raises:
        BadParameter: it stands on the command line.

    """
    source = context.get_parameter_source(parameter.name or "")
    if value and source is not None and source.name == "COMMANDLINE":
        raise typer.BadParameter(
            "a token on the command line can be read by everybody on this host: "
            f"set {parameter.envvar} or use {parameter.opts[0]}-file"
        )
    return value


def read_token(file: Path, what: str, option: str) -> str:
    """Read a file that holds a token and nothing else; ``option`` names another.

    Raises:
        InvalidInputError: it is missing, unreadable or no token.

    """
    subject = f"the {what} file {file}"
    try:
        token = file.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not text"
        raise refused(subject, f"cannot be read: {reason}; name another with {option}") from error
    if not token:
        raise refused(subject, "is empty; write the token there")
    if not token.isascii() or not token.isprintable():
        raise refused(subject, f"does not hold a token; name another with {option}")
    return token


def write_token(file: Path, token: str) -> None:
    """Write ``token`` to a new file that its owner alone can read.

    Raises:
        InvalidInputError: it cannot be made, or is there already.

    """
    try:
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w") as opened:
            opened.write(token + "\n")
    except OSError as error:
        raise unwritable(file, error) from error


def unwritable(file: Path, error: OSError) -> InvalidInputError:
    """Return the error that the file named with ``--out`` cannot be written."""
    return refused("the option --out", f"{file} cannot be written: {error.strerror}")
