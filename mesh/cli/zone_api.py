"""How a command reaches a zone's API: the same three options and variables everywhere.

On the zone's own host none of them is needed: the defaults are what ``mesh zone`` listens on
and writes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Annotated, Final, TypeVar

import typer

from mesh.clients.zone import ZoneAddress, ZoneClient
from mesh.config.types import HostPort
from mesh.config.zone import ADMIN_TOKEN_FILE, BUNDLE_FILE, default_data_dir
from mesh.model.violations import InvalidInputError, Violation

T = TypeVar("T")

DEFAULT_ZONE: Final = "127.0.0.1:5678"

ZoneOption = Annotated[
    str,
    typer.Option("--zone", envvar="MESH_ZONE_API", metavar="HOST:PORT", help="The zone's API."),
]
AdminTokenOption = Annotated[
    Path | None,
    typer.Option(
        envvar="MESH_ADMIN_TOKEN_FILE",
        metavar="FILE",
        help="File with the admin token; default: the one 'mesh zone' made on this host.",
    ),
]
BundleOption = Annotated[
    Path | None,
    typer.Option(
        "--bundle",
        envvar="MESH_BUNDLE_FILE",
        metavar="FILE",
        help="The mesh's trust bundle; default: the one 'mesh zone' wrote on this host.",
    ),
]


def ask(
    zone: str,
    admin_token_file: Path | None,
    bundle: Path | None,
    question: Callable[[ZoneClient], Awaitable[T]],
) -> T:
    """Ask a zone one question and return its answer.

    Raises:
        InvalidInputError: the address or the token's file is wrong.
        ZoneError: the zone could not be asked, or refused.

    """
    try:
        place = HostPort.parse(zone)
    except ValueError as error:
        raise InvalidInputError("the option --zone", (Violation("", str(error)),)) from error
    data_dir = default_data_dir()
    token = _read_token(admin_token_file or data_dir / ADMIN_TOKEN_FILE)
    address = ZoneAddress(place.host, place.port, bundle or data_dir / BUNDLE_FILE)

    async def run() -> T:
        async with ZoneClient(address, token) as client:
            return await question(client)

    return asyncio.run(run())


def _read_token(file: Path) -> str:
    subject = f"the admin token file {file}"
    try:
        token = file.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not text"
        advice = "name the file that 'mesh zone' made with --admin-token-file"
        found = Violation("", f"cannot be read: {reason}; {advice}")
        raise InvalidInputError(subject, (found,)) from error
    if not token or not token.isascii() or not token.isprintable():
        raise InvalidInputError(subject, (Violation("", "does not hold a token"),))
    return token
