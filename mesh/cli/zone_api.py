"""How a command reaches a zone's API: the same three options and variables everywhere.

On the zone's own host none of them is needed: the defaults are what ``mesh zone`` listens on
and writes.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Annotated, Final, TypeVar

import typer

from mesh.cli import progress
from mesh.cli.arguments import read_token, refused
from mesh.clients.zone import ZoneAddress, ZoneClient
from mesh.config.types import HostPort
from mesh.config.zone import ADMIN_TOKEN_FILE, BUNDLE_FILE, default_data_dir

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


def zone_address(zone: str, bundle: Path | None) -> ZoneAddress:
    """Return the address of a zone's API.

    Raises:
        InvalidInputError: it is not an address.

    """
    try:
        place = HostPort.parse(zone)
    except ValueError as error:
        raise refused("the option --zone", str(error)) from error
    return ZoneAddress(place.host, place.port, bundle or default_data_dir() / BUNDLE_FILE)


def admin_client(address: ZoneAddress, admin_token_file: Path | None) -> ZoneClient:
    """Return a client that may administer the zone.

    Raises:
        InvalidInputError: the token's file is wrong.

    """
    file = admin_token_file or default_data_dir() / ADMIN_TOKEN_FILE
    return ZoneClient(address, read_token(file, "admin token", "--admin-token-file"))


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
    opened = admin_client(zone_address(zone, bundle), admin_token_file)

    async def run() -> T:
        async with opened as client:
            return await question(client)

    return progress.run("Asking the zone", run())
