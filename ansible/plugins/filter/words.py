"""Small things that tasks need to say: addresses, descriptions, ids, and what is wrong."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

_ROTATED: Final = re.compile(r"mesh-root-\d{14}")


def addresses(hosts: Iterable[Mapping[str, Any]]) -> list[str]:
    """Return where each of ``hosts``, given by their variables, is dialled: a port may follow."""
    found = [
        str(host.get("mesh_address") or host.get("ansible_host") or host["inventory_hostname"])
        for host in hosts
    ]
    return [f"[{each}]" if ":" in each else each for each in found]


def said(rules: Iterable[Mapping[str, Any]]) -> list[str]:
    """Return the sentence of each rule whose condition holds."""
    return [str(rule["then"]) for rule in rules if rule["when"]]


def description(service: str, host: str) -> str:
    """Return what Consul's list of tokens says of the one of a service on a host."""
    return f"mesh: {service} on {host}"


def token_id(token: str) -> str:
    """Return the id of a join token, which may be shown; the token may not."""
    payload = token.split(".")[1]
    claims = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    return str(claims["jti"])


def newest_root(issuers: Mapping[str, Mapping[str, Any]]) -> str:
    """Return the id of the root that the last rotation made; empty if there was none.

    It has the time in its name.  What the first root is called is its maker's choice.
    """
    made = {
        str(about["issuer_name"]): each
        for each, about in issuers.items()
        if _ROTATED.fullmatch(str(about["issuer_name"]))
    }
    return made[max(made)] if made else ""


_FILTERS: Final[tuple[Callable[..., object], ...]] = (
    *(addresses, said, description, token_id, newest_root),
)


class FilterModule:
    """What ansible looks for: the filters by name."""

    def filters(self) -> dict[str, Callable[..., object]]:
        """Return them."""
        return {each.__name__: each for each in _FILTERS}
