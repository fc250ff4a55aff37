"""``RequestHeaders`` and ``ResponseHeaders``.  Pure.

A value is handed to Envoy as it stands, with Envoy's placeholders, as Consul does.  Envoy
refuses a whole configuration for one placeholder that it does not know, so that only well-known
ones pass.  Source: Envoy's "Custom request/response headers" and "Command operators".
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from mesh.clients.consul.fields import Fields
from mesh.model.requests import NO_EDITS, HeaderEdits

HEADER_NAME: Final = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")

_CONTROL: Final = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
_PLACEHOLDER: Final = re.compile(
    r"%%|%REQ\(:?[A-Za-z0-9_.-]+(?:\?:?[A-Za-z0-9_.-]+)?\)(?::[1-9][0-9]{0,3})?%|%([A-Z0-9_]+)%"
)
_ARGUMENTLESS: Final = frozenset(
    {
        "BYTES_RECEIVED",
        "BYTES_SENT",
        "DOWNSTREAM_DIRECT_REMOTE_ADDRESS",
        "DOWNSTREAM_DIRECT_REMOTE_ADDRESS_WITHOUT_PORT",
        "DOWNSTREAM_LOCAL_ADDRESS",
        "DOWNSTREAM_LOCAL_ADDRESS_WITHOUT_PORT",
        "DOWNSTREAM_LOCAL_PORT",
        "DOWNSTREAM_LOCAL_URI_SAN",
        "DOWNSTREAM_PEER_FINGERPRINT_256",
        "DOWNSTREAM_PEER_SUBJECT",
        "DOWNSTREAM_PEER_URI_SAN",
        "DOWNSTREAM_REMOTE_ADDRESS",
        "DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT",
        "DOWNSTREAM_REMOTE_PORT",
        "DOWNSTREAM_TLS_VERSION",
        "HOSTNAME",
        "PROTOCOL",
        "REQUESTED_SERVER_NAME",
        "RESPONSE_CODE",
        "RESPONSE_FLAGS",
        "ROUTE_NAME",
        "START_TIME",
        "UPSTREAM_CLUSTER",
        "UPSTREAM_REMOTE_ADDRESS",
    }
)


def header_edits(fields: Fields, name: str) -> HeaderEdits:
    """Return the edits at ``name``, if any are given."""
    edits = fields.child(name)
    if edits is None:
        return NO_EDITS
    found = HeaderEdits(_values(edits, "Add"), _values(edits, "Set"), edits.texts("Remove"))
    for index, header in enumerate(found.remove):
        _check_name(edits, f"Remove[{index}]", header)
    edits.close()
    return found


def _values(edits: Fields, name: str) -> tuple[tuple[str, str], ...]:
    given = edits.raw(name)
    if given is None:
        return ()
    if not isinstance(given, Mapping):
        edits.wrong(name, "expected an object of headers and their values")
        return ()
    found: list[tuple[str, str]] = []
    for header, value in given.items():
        place = f"{name}.{header}"
        _check_name(edits, place, str(header))
        if not isinstance(value, str):
            edits.wrong(place, "expected a string")
            continue
        _check_value(edits, place, value)
        found.append((str(header), value))
    return tuple(found)


def _check_name(edits: Fields, place: str, header: str) -> None:
    if not HEADER_NAME.fullmatch(header):
        edits.wrong(place, f"{header!r} is no name of a header")
    elif header.lower() == "host":
        edits.wrong(place, "the host is no header that Envoy edits; use a MeshHTTPRoute")


def _check_value(edits: Fields, place: str, value: str) -> None:
    if _CONTROL.search(value):
        edits.wrong(place, "has a control character")
    for found in _PLACEHOLDER.finditer(value):
        if found[1] and found[1] not in _ARGUMENTLESS:
            edits.wrong(place, f"{found[0]} is no placeholder that can be used here")
    if "%" in _PLACEHOLDER.sub("", value):
        edits.wrong(place, "has a '%' that begins no placeholder; write it twice")
