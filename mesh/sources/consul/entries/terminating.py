"""``terminating-gateway`` entries: external services, and how they are dialled.  Pure.

The entry named like the mesh's egress gateways is theirs; one of another name is for a gateway of
Consul's own, and nothing to the mesh.  Files are on the gateways' hosts.  Whoever may write the
entry must not have a gateway read just any file there, so a file is named within one directory,
which the gateway's own settings choose.
"""

from __future__ import annotations

import re
from typing import Final

from mesh.clients.consul.fields import Fields
from mesh.model.entries import LinkedService
from mesh.model.names import WILDCARD, ZONE_EGRESS
from mesh.sources.consul.entries.fields import Entry, refuse_enterprise, visible
from mesh.sources.consul.entries.kinds import TERMINATING_GATEWAY
from mesh.sources.consul.problems import Raw

FILES: Final = "/etc/mesh/egress/"
"""What stands before files in entries; a gateway may keep them elsewhere all the same."""

_FILE: Final = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]*(?:/[A-Za-z0-9_-][A-Za-z0-9._-]*)*")


def parse_terminating_gateway(raw: Raw) -> dict[str, LinkedService]:
    """Read the entry; return the services that it links, by name.

    Raises:
        InvalidInputError: with every violation.

    """
    if str(raw.get("Name", "")) != ZONE_EGRESS:
        return {}
    entry = Entry(TERMINATING_GATEWAY, raw)
    fields = entry.fields
    fields.text("Name")
    found: dict[str, LinkedService] = {}
    for item in fields.children("Services"):
        linked = _linked(item)
        if linked.name in found:
            item.wrong("Name", f"{linked.name!r} stands in an earlier item already")
        found[linked.name] = linked
    entry.close()
    return found


def _linked(item: Fields) -> LinkedService:
    refuse_enterprise(item)
    name = item.text("Name")
    if name == WILDCARD:
        item.wrong("Name", "* is not possible: name the services that have no sidecar")
    else:
        name = item.name("Name")
    files = {key: _file(item, key) for key in ("CAFile", "CertFile", "KeyFile")}
    pair = (bool(files["CertFile"]), bool(files["KeyFile"]))
    if any(pair) and not (all(pair) and files["CAFile"]):
        item.wrong("CertFile", "goes with a KeyFile and a CAFile only, as in Consul")
    sni = visible(item, "SNI")
    if sni and not item.text("CAFile"):
        item.wrong("SNI", "needs a CAFile: without one, no TLS is spoken")
    # Requests go on for the host that the application named.
    item.skip(("DisableAutoHostRewrite",))
    item.close()
    return LinkedService(name, files["CAFile"], files["CertFile"], files["KeyFile"], sni)


def _file(item: Fields, key: str) -> str:
    said = item.text(key)
    name = said.removeprefix(FILES)
    if said and not _FILE.fullmatch(name):
        item.wrong(
            key,
            f"{said!r} is no file below {FILES}: the gateways read no other; use letters, digits, "
            "'.', '-', '_'",
        )
        return ""
    return name
