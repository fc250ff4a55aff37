"""Where the options of ``zone_api`` point, for commands that ask without an admin token."""

from __future__ import annotations

from pathlib import Path

from mesh.clients.zone import ZoneAddress
from mesh.config.types import HostPort
from mesh.config.zone import BUNDLE_FILE, default_data_dir
from mesh.model.violations import InvalidInputError, Violation


def zone_address(zone: str, bundle: Path | None) -> ZoneAddress:
    """Return the address of a zone's API.

    Raises:
        InvalidInputError: it is not an address.

    """
    try:
        place = HostPort.parse(zone)
    except ValueError as error:
        raise InvalidInputError("the option --zone", (Violation("", str(error)),)) from error
    return ZoneAddress(place.host, place.port, bundle or default_data_dir() / BUNDLE_FILE)
