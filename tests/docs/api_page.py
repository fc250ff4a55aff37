"""``docs/reference/api.md``: the zone's HTTP API in one table."""

from __future__ import annotations

import re
from dataclasses import fields
from types import SimpleNamespace
from typing import Any, Final, cast

from mesh.controlplane.api.app import ApiParts, all_routes
from mesh.controlplane.api.route import Caller
from tests.docs.markdown import code, table

_WHO: Final = {
    Caller.ADMIN: "admin token",
    Caller.WORKLOAD: "workload certificate",
    Caller.ANYBODY: "anybody",
    Caller.INVITED: "a zone with a peering token",
    Caller.PEER: "a peer's control plane",
}
_PATTERN: Final = re.compile(r":[^}]*")
_INTRODUCTION: Final = """\
# The zone's HTTP API

Port 5678, HTTPS, TLS 1.3. The zone describes it itself, with every field, at `/openapi.json`;
this page is the overview.

- The certificate names the zone: verify it against the trust bundle, under the server name
  `zone.<zone>.<trust domain>`.
- *Admin token*: `Authorization: Bearer` with the content of the zone's admin token file.
- *Workload certificate*: mutual TLS with the current SVID.
- Requests and answers are JSON. Unknown fields are refused.
- Every error is `{"error", "remedy", "violations": [{"path", "message"}]}` with a fitting status.
- A body is at most 256 KiB; a request is given up after 30 s.

"""
_HEALTH: Final = """
Port 5680 answers plain HTTP without a secret: `/metrics`, `/live`, and `/ready`, which lists
every reason why the zone cannot serve.
"""


def page() -> str:
    """Return the page."""
    rows = [
        (code(f"{route.method} {_PATTERN.sub('', route.path)}"), _WHO[route.caller], route.summary)
        for route in all_routes(_no_parts())
    ]
    return _INTRODUCTION + table(("Request", "Who", "What"), rows) + _HEALTH


def _no_parts() -> ApiParts:
    # Nobody calls these routes: what would carry them out need not be there.
    nothing: dict[str, Any] = {each.name: None for each in fields(ApiParts)}
    return cast("ApiParts", SimpleNamespace(**nothing))
