"""Whom the operating system believes: found where its distribution keeps it.

Envoy reads it through a link in the state directory, so that what the zone sends is the same for
every distribution.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from mesh.agent.state import StateDir
from mesh.envoy import files

PLACES: Final = (
    Path("/etc/ssl/certs/ca-certificates.crt"),
    Path("/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem"),
    Path("/etc/ssl/ca-bundle.pem"),
    Path("/etc/ssl/cert.pem"),
)
"""Debian and Alpine, Red Hat, SUSE, BSD and macOS."""


def link(state: StateDir, places: tuple[Path, ...] = PLACES) -> Path:
    """Link the roots into ``state`` and return where they are.

    Without any, the mesh's own bundle takes their place: then nobody outside the mesh is
    believed, and Envoy still takes the configuration.
    """
    found = next((place for place in places if place.is_file()), Path(files.BUNDLE_FILE))
    state.link(files.SYSTEM_ROOTS, found)
    return found
