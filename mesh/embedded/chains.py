"""What Consul insists on in entries that make up a service's discovery chain.

Routers and splitters need a service that speaks HTTP, and everything they send to must speak
the same protocol.  That holds over several entries, so it is checked after every write to any
of them, and the write is undone if it does not hold.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from mesh.embedded.errors import RefusedError
from mesh.embedded.records import Entry
from mesh.embedded.store import Transaction
from mesh.model.names import WILDCARD

_TCP = "tcp"
_ALL_WEIGHTS = 100
_WEIGHT_PRECISION = 0.01


def check_shape(entry: Entry) -> None:
    """Refuse an entry whose own fields do not hold together."""
    check = _SHAPES.get(entry.kind)
    if check is not None:
        check(entry.body)


def check_protocols(tx: Transaction) -> None:
    """Refuse a state in which a router, splitter or ingress crosses protocols."""
    _check_ingresses(tx)
    for kind in ("service-router", "service-splitter"):
        for entry in tx.store.entries.by("kind", kind):
            protocol = _protocol(tx, entry.name)
            for target in _targets(entry):
                other = _protocol(tx, target)
                if other != protocol:
                    raise RefusedError(
                        f'discovery chain "{entry.name}" uses inconsistent protocols; '
                        f'service "{target}" has "{other}" which is not "{protocol}"'
                    )
            if protocol == _TCP:
                raise RefusedError(
                    f'discovery chain "{entry.name}" uses a protocol "tcp" that does not permit '
                    "advanced routing or splitting behavior"
                )


def _check_ingresses(tx: Transaction) -> None:
    for entry in tx.store.entries.by("kind", "ingress-gateway"):
        for listener in entry.body.get("Listeners") or ():
            wanted = listener.get("Protocol") or _TCP
            for service in listener.get("Services") or ():
                name = service.get("Name", "")
                if name != WILDCARD and (protocol := _protocol(tx, name)) != wanted:
                    raise RefusedError(
                        f'service "{name}" has protocol "{protocol}", '
                        f'which does not match defined listener protocol "{wanted}"'
                    )


def _protocol(tx: Transaction, service: str) -> str:
    entry = tx.store.entries.get("service-defaults", service)
    if entry is not None and entry.body.get("Protocol"):
        return str(entry.body["Protocol"])
    entry = tx.store.entries.get("proxy-defaults", "global")
    config = entry.body.get("Config") if entry is not None else None
    named = config.get("protocol") if isinstance(config, dict) else None
    return str(named or _TCP)


def _targets(entry: Entry) -> Iterator[str]:
    for route in entry.body.get("Routes") or ():
        yield (route.get("Destination") or {}).get("Service") or entry.name
    for split in entry.body.get("Splits") or ():
        yield split.get("Service") or entry.name


def _check_router(body: dict[str, Any]) -> None:
    for place, route in enumerate(body.get("Routes") or ()):
        http = (route.get("Match") or {}).get("HTTP") or {}
        paths = [key for key in ("PathExact", "PathPrefix", "PathRegex") if http.get(key)]
        for key in ("PathExact", "PathPrefix"):
            value = http.get(key)
            if value and not str(value).startswith("/"):
                raise RefusedError(f"Route[{place}] {key} doesn't start with '/': \"{value}\"")
        if len(paths) > 1:
            raise RefusedError(
                f"Route[{place}] should only contain at most one of "
                "PathExact, PathPrefix, or PathRegex"
            )


def _check_splitter(body: dict[str, Any]) -> None:
    splits = body.get("Splits") or []
    if not splits:
        raise RefusedError("no splits configured")
    total = sum(float(split.get("Weight") or 0) for split in splits)
    if abs(total - _ALL_WEIGHTS) >= _WEIGHT_PRECISION:
        raise RefusedError(f"the sum of all split weights must be 100, not {total:f}")


def _check_resolver(body: dict[str, Any]) -> None:
    default = body.get("DefaultSubset")
    if default and default not in (body.get("Subsets") or {}):
        raise RefusedError(f'DefaultSubset "{default}" is not a valid subset')
    if body.get("Redirect") == {}:
        raise RefusedError("Redirect is empty")


def _check_jwt_provider(body: dict[str, Any]) -> None:
    keys = body.get("JSONWebKeySet") or {}
    if not isinstance(keys, dict) or bool(keys.get("Local")) == bool(keys.get("Remote")):
        raise RefusedError("must specify exactly one of Local or Remote JSON Web key set")


_SHAPES: dict[str, Callable[[dict[str, Any]], None]] = {
    "service-router": _check_router,
    "service-splitter": _check_splitter,
    "service-resolver": _check_resolver,
    "jwt-provider": _check_jwt_provider,
}
