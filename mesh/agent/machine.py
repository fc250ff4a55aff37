"""Which machine is this?  So that the state of one machine is not taken up on another.

A disk image that is copied carries everything that a proxy remembers: key, proof, instance.  What
it does not carry is the machine around it.  Three facts are kept and compared (ADR 21): the
system's own ``machine-id``; the id that firmware or hypervisor gave the machine; the addresses of
its network interfaces.  None of them changes with the hostname, with the network's addresses, with
another interface or with another kernel.

:func:`difference` decides and is pure; :func:`look` looks.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Self

_UUID: Final = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_MEANINGLESS: Final = frozenset(
    {
        "00000000-0000-0000-0000-000000000000",
        "ffffffff-ffff-ffff-ffff-ffffffffffff",
        # On many boards whose maker left it as the firmware's maker had it.
        "03000200-0400-0500-0006-000700080009",
        "12345678-1234-5678-90ab-cddeefaabbcc",
    }
)
_ETHERNET: Final = "1"
_RANDOM: Final = "1"
_NOBODY: Final = "00:00:00:00:00:00"
_SHORT: Final = 6


@dataclass(frozen=True, slots=True)
class Machine:
    """What is known of a machine; empty is what is not.

    ``id`` and ``platform`` are hashes of its ``machine-id`` and of the firmware's id, which are
    nobody else's business; ``interfaces`` are link-layer addresses.
    """

    id: str = ""
    platform: str = ""
    interfaces: frozenset[str] = frozenset()

    def digest(self) -> str:
        """Return six hexadecimal digits that differ from those of a copy of the machine."""
        content = "\n".join((self.id, self.platform, *sorted(self.interfaces)))
        return hashlib.sha256(content.encode()).hexdigest()[:_SHORT]

    def to_json(self) -> dict[str, Any]:
        """Return what :meth:`from_json` reads."""
        return {
            "id": self.id,
            "platform": self.platform,
            "interfaces": sorted(self.interfaces),
        }

    @classmethod
    def from_json(cls, raw: dict[str, Any]) -> Self:
        """Read what :meth:`to_json` wrote; anything else is a KeyError or TypeError."""
        return cls(
            str(raw["id"]), str(raw["platform"]), frozenset(str(each) for each in raw["interfaces"])
        )


def difference(kept: Machine, found: Machine) -> str:
    """Return by what ``found`` is another machine than ``kept``; empty if it is the same.

    The first fact that can decide does.  The firmware's id goes before the interfaces: those are
    replaced, and move from one machine to another.  A machine that never had an id, as a container
    without an init, cannot be told from others.
    """
    if not kept.id:
        return ""
    if kept.id != found.id:
        return "its machine-id is another"
    if kept.platform and found.platform:
        return "" if kept.platform == found.platform else "its firmware's id is another"
    if kept.interfaces and not kept.interfaces & found.interfaces:
        return (
            f"none of its network interfaces is one of those before "
            f"({', '.join(sorted(kept.interfaces))}; now {_listed(found.interfaces)})"
        )
    return ""


def look(platform_file: Path | None = None, root: Path = Path("/")) -> Machine:
    """Look at this machine, as far as this user may.

    Args:
        platform_file: a copy of the firmware's id, for a user who may not read the original.
        root: where the file system begins.

    """
    system = _read(root / "etc/machine-id") or _read(root / "var/lib/dbus/machine-id")
    # "uninitialized" is what an image says that was prepared to be copied.
    known = system if re.fullmatch(r"[0-9a-f]{32}", system) else ""
    return Machine(
        _hidden(known),
        _hidden(_platform(platform_file, root)),
        frozenset(_interfaces(root / "sys/class/net")),
    )


def canonical_uuid(text: str) -> str:
    """Return the firmware's id in one spelling; empty if it is none, or everybody's.

    Firmware disagrees, from version to version, about the byte order of the first three fields.
    """
    uuid = text.strip().lower()
    if not _UUID.fullmatch(uuid):
        return ""
    first, second, third, *rest = uuid.split("-")
    swapped = "-".join((_reversed(first), _reversed(second), _reversed(third), *rest))
    return "" if {uuid, swapped} & _MEANINGLESS else min(uuid, swapped)


def _platform(file: Path | None, root: Path) -> str:
    # A container sees the id of the machine that it runs on, and so do all the others there.
    if (root / "run/systemd/container").exists() or (root / ".dockerenv").exists():
        return ""
    places = (root / "sys/class/dmi/id/product_uuid", root / "sys/hypervisor/uuid")
    for place in (file, *places):
        uuid = canonical_uuid(_read(place)) if place is not None else ""
        if uuid:
            return uuid
    return ""


def _interfaces(net: Path) -> Iterator[str]:
    """Yield the addresses of those that are devices; where there is none, of those that were given.

    The latter is for containers that boot like machines, whose interfaces are all virtual.
    """
    try:
        found = sorted(net.iterdir())
    except OSError:
        return
    fixed = [each for each in found if _is_fixed(each)]
    devices = [each for each in fixed if (each / "device").exists()]
    for each in devices or [each for each in fixed if not _is_made_here(each)]:
        yield _read(each / "address").lower()


def _is_fixed(interface: Path) -> bool:
    return (
        _read(interface / "type") == _ETHERNET
        and _read(interface / "address") not in {"", _NOBODY}
        and _read(interface / "addr_assign_type") != _RANDOM
    )


def _is_made_here(interface: Path) -> bool:
    """Whether it is a bridge, a bond or a tunnel of this machine's own, whose addresses repeat."""
    return any((interface / each).exists() for each in ("bridge", "bonding", "tun_flags"))


def _hidden(identifier: str) -> str:
    """Hash an id that must not leave the machine, as machine-id(5) asks."""
    if not identifier:
        return ""
    return hmac.new(b"mesh agent state", identifier.encode(), hashlib.sha256).hexdigest()


def _reversed(field: str) -> str:
    return bytes.fromhex(field)[::-1].hex()


def _listed(addresses: frozenset[str]) -> str:
    return ", ".join(sorted(addresses)) or "none"


def _read(file: Path) -> str:
    try:
        return file.read_text(encoding="ascii", errors="replace").strip()
    except OSError:
        return ""
