"""What a host is, as far as the mesh could have touched it: files, units, rules, users."""

from __future__ import annotations

import re
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Final

from tests.vms.host import Host

_OTHERS: Final = re.compile(
    r"/(?:proc|sys|dev|run|mnt|root/\.ansible|var/log|var/lib/estate-consul|var/lib/systemd"
    # What tools keep of files before they were changed.
    r"|etc/(?:passwd|shadow|group|gshadow|subuid|subgid)-"
    r"|(?:var/)?tmp/systemd-private-[^/]*|etc/\.pwd\.lock|etc/\.updated|var/\.updated"
    r")(?:/|$)"
)
"""What systemd, sshd and the estate's own servers write, mesh or not."""

_BIG: Final = 1_000_000


@dataclass(frozen=True, slots=True)
class Listing:
    """All of it, to be compared."""

    files: dict[str, str]
    units: str
    rules: str
    sockets: str
    kernel: str


async def listing(host: Host) -> Listing:
    """Look at a host that runs."""
    return Listing(
        dict(_files(host.root, host.root)),
        await host.run(
            *("systemctl", "list-unit-files", "--no-pager", "--no-legend", "--state=enabled"),
        ),
        await host.run("nft", "list", "ruleset"),
        await host.run("ss", "-H", "-l", "-n", "-t"),
        await host.run("sysctl", "net.ipv4.tcp_migrate_req"),
    )


def difference(before: Listing, after: Listing) -> list[str]:
    """Return what is not as it was."""
    names = before.files.keys() | after.files.keys()
    gone = "nothing"
    found = [
        f"{name}: {before.files.get(name, gone)} → {after.files.get(name, gone)}"
        for name in sorted(names)
        if before.files.get(name) != after.files.get(name)
    ]
    for what in ("units", "rules", "sockets", "kernel"):
        old, new = getattr(before, what), getattr(after, what)
        if sorted(old.splitlines()) != sorted(new.splitlines()):
            found.append(f"{what}: {old} → {new}")
    return found


def _files(directory: Path, root: Path) -> Iterator[tuple[str, str]]:
    for each in directory.iterdir():
        name = f"/{each.relative_to(root)}"
        if _OTHERS.match(name):
            continue
        at = each.lstat()
        about = f"{stat.filemode(at.st_mode)} {at.st_uid}:{at.st_gid}"
        if each.is_symlink():
            yield name, f"{about} → {each.readlink()}"
        elif each.is_dir():
            yield name, about
            yield from _files(each, root)
        elif each.is_file():
            # Whoever writes a big one leaves the time.
            content = at.st_mtime_ns if at.st_size > _BIG else sha256(each.read_bytes()).hexdigest()
            yield name, f"{about} {at.st_size} {content}"
