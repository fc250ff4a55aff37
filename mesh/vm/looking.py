"""A look at the services of this host, as far as this user may see."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from mesh.capture import applying, surroundings
from mesh.capture import looking as deafness
from mesh.capture.errors import CaptureError
from mesh.capture.nft import Nft
from mesh.capture.plan import plan
from mesh.capture.sockets import sockets
from mesh.config.capture import load_capture
from mesh.model.violations import InvalidInputError
from mesh.vm import asking, host, systemd
from mesh.vm.layout import Layout, Ports, service_of, unit
from mesh.vm.report import Seen

_PROPERTIES: Final = (
    *("Id", "LoadState", "ActiveState", "SubState", "UnitFileState", "NRestarts"),
    "ActiveEnterTimestamp",
)


def look(layout: Layout) -> tuple[tuple[Seen, ...], str]:
    """Return what was seen of each service, and what this user may not see, in words.

    Raises:
        VmError: systemd cannot be asked, or a settings file is damaged.

    """
    settings: Mapping[str, Mapping[str, Any]] = {}
    captured: Mapping[str, Any] = {}
    unseen = ""
    try:
        settings, captured = host.proxies(layout), host.read_settings(layout.capture)
    except PermissionError:
        unseen = (
            f"{layout.etc} and the state of the proxies are root's to read: `sudo mesh vm status`"
        )
    units = systemd.proxy_units()
    names = {*settings, *map(service_of, units)}
    ports = [int(str(each.get("listen", "")).rpartition(":")[2] or 0) for each in settings.values()]
    pages = asking.by_service(each or Ports(0).listen for each in ports) if names else {}
    if names - pages.keys():
        pages = {**asking.by_service(), **pages}
    capturing = {str(each.get("service")) for each in captured.get("proxies") or ()}
    problem = _capture_problem(layout.capture) if capturing and not unseen else ""
    seen = tuple(
        Seen(
            service=each,
            unit=systemd.show(unit(each), _PROPERTIES),
            page=pages.get(each),
            foreign=_foreign(layout.state(each)),
            capture=problem if each in capturing else None,
        )
        for each in sorted(names)
    )
    return seen, unseen


def _capture_problem(settings: Path) -> str:
    """Say what is amiss with the capture of this host; empty if nothing is.

    It is what `mesh capture check` says of the table and of who listens, in a few words; routes
    and names are left to it.
    """
    try:
        wanted, _ = surroundings.with_cgroups_there(plan(load_capture(settings), surroundings.uid))
        with applying.alone():
            found = applying.difference(Nft(), wanted)
    except (CaptureError, InvalidInputError) as error:
        return str(error)
    if found.changes:
        what = "another table is loaded than planned" if found.loaded else "no table is loaded"
        return f"{what}: `mesh capture check`"
    deaf = [
        f"{each.service} ({each.port})"
        for each in deafness.deaf(wanted, sockets())
        if each.entirely
    ]
    return f"nobody listens for {', '.join(deaf)}: `mesh capture check`" if deaf else ""


def _foreign(state: Path) -> str:
    with contextlib.suppress(PermissionError):
        return host.foreign(state)
    return ""
