"""``docs/reference/api.md``: the zone's HTTP API in one table."""

from __future__ import annotations

from typing import Any, Final

from mesh.controlplane import openapi
from mesh.controlplane.api import enrol, proxies, registrations, state, tokens
from tests.docs.markdown import code, table

_WHO: Final = {"ADMIN": "admin token", "WORKLOAD": "certificate", "ANYBODY": "anybody"}
