"""Versions of the mesh to upgrade to, made of the wheel that there is."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Final

from tests.vms import wheels

NEWER: Final = f"{wheels.VERSION}.post1"
BROKEN: Final = f"{wheels.VERSION}.post2"
"""Its agents end at once."""


def add(wheelhouse: Path, version: str, *, agent: str = "") -> None:
    """Put the mesh as ``version`` into ``wheelhouse``; its agent begins with the line ``agent``."""
    (wheel,) = wheelhouse.glob(f"consul_mesh-{wheels.VERSION}-*.whl")
    old, new = f"consul_mesh-{wheels.VERSION}.", f"consul_mesh-{version}."
    target = wheelhouse / wheel.name.replace(f"-{wheels.VERSION}-", f"-{version}-")
    with zipfile.ZipFile(wheel) as read, zipfile.ZipFile(target, "w") as written:
        for each in read.infolist():
            content = read.read(each)
            if each.filename.endswith(".dist-info/METADATA"):
                said = f"\nVersion: {wheels.VERSION}\n".encode()
                content = content.replace(said, f"\nVersion: {version}\n".encode(), 1)
            if each.filename.endswith(".dist-info/RECORD"):
                content = content.replace(old.encode(), new.encode())
            if each.filename == "mesh/agent/__main__.py":
                content = agent.encode() + b"\n" + content
            written.writestr(each.filename.replace(old, new), content)
