"""Hosts and paths as a gateway's document writes them."""

from __future__ import annotations

from typing import Annotated, Final

from pydantic import AfterValidator

from mesh.model.names import is_dns_name
from mesh.policies.intentions.paths import normalise

_WILDCARD: Final = "*."


def _host(value: str) -> str:
    if not is_dns_name(value.removeprefix(_WILDCARD)):
        raise ValueError(f"{value!r} is no host: write shop.example.com or *.example.com")
    return value


def _path(value: str) -> str:
    if not value.startswith("/"):
        raise ValueError(f"{value!r} must start with '/'")
    if set(value) & {"?", "#"}:
        raise ValueError(f"{value!r} has a query or fragment, a path has none")
    if (seen := normalise(value)) != value:
        raise ValueError(f"no path is {value!r} once it is normalised: write {seen!r}")
    return value


ServedHost = Annotated[str, AfterValidator(_host)]
"""``shop.example.com``, or ``*.example.com`` for all below it."""
ServedPath = Annotated[str, AfterValidator(_path)]
"""A path by whole segments: ``/a`` is ``/a`` and ``/a/b``, not ``/ab``."""
