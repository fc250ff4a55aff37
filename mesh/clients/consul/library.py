"""python-consul2 as the one who knows what to ask.

It spells out paths, parameters and bodies; our transport carries them.  Three of its habits
are kept out:

- Its package imports its ``requests`` transport (a tenth of a second and several megabytes,
  which every sidecar's agent would pay), so only its ``base`` module is loaded.
- Its constructor lets ``CONSUL_HTTP_ADDR`` and ``CONSUL_HTTP_TOKEN`` override what it is
  given, so its groups of endpoints are built one by one on a context of ours.
- Its callbacks decode every body and raise its own errors, so they are not called.
"""

from __future__ import annotations

import importlib.util
import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

from mesh.clients.consul.transport import LibraryPort, Transport

_ALIAS = "mesh.clients.consul._python_consul2"


@cache
def _base() -> ModuleType:
    package = importlib.util.find_spec("consul")
    if package is None or not package.submodule_search_locations:
        raise ImportError("python-consul2 is not installed; run: pip install python-consul2")
    place = Path(package.submodule_search_locations[0]) / "base.py"
    spec = importlib.util.spec_from_file_location(_ALIAS, place)
    if spec is None or spec.loader is None:
        raise ImportError(f"python-consul2 has no {place}; run: pip install python-consul2")
    module = importlib.util.module_from_spec(spec)
    sys.modules[_ALIAS] = module
    spec.loader.exec_module(module)
    return module


@dataclass(frozen=True, slots=True)
class _Context:
    """What the library's endpoint groups look up on their owner."""

    http: LibraryPort
    token: str | None
    dc: str | None
    consistency: str = "default"


class Library:
    """python-consul2's groups of endpoints; each call returns an awaitable of our Reply."""

    def __init__(self, transport: Transport) -> None:
        """Ask over ``transport``."""
        address = transport.address
        context = _Context(
            LibraryPort(transport), address.token or None, address.datacenter or None
        )
        groups: Any = _base().Consul
        self.acl_tokens: Any = groups.ACL.Tokens(context)
        self.agent: Any = groups.Agent(context)
        self.catalog: Any = groups.Catalog(context)
        self.intentions: Any = groups.Connect.Intentions(context)
        self.kv: Any = groups.KV(context)
        self.session: Any = groups.Session(context)
