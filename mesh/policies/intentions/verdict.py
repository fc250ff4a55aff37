"""Who may call whom: Consul's precedence, first matching permission, and the default.

Of all intentions that cover a pair, the one of highest precedence decides alone
(https://developer.hashicorp.com/consul/docs/secure-mesh/intention).  If it has permissions,
the first that matches the request decides; if none matches, the *default* does, never an
intention of lower precedence.  On a destination whose requests cannot be told apart (tcp),
an intention with permissions denies: the rest of what it says cannot be enforced.

A caller of a peer is nobody whom the default lets in, nor one whom ``*`` means: only an intention
that names the peer allows him anything.

A token that the destination's entry requires (``jwt``) stands before all of this on HTTP,
and is not asked for on tcp.  Without it nothing that the intention covers is allowed,
whatever the default.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from mesh.model import callers
from mesh.model.intentions import Action, Intention, IntentionsByDestination, Permission
from mesh.model.names import WILDCARD
from mesh.model.services import Protocol
from mesh.policies.intentions.matching import Call, matches, token_suffices


@dataclass(frozen=True, slots=True)
class Verdict:
    """The answer to a call, and why.

    ``conditional``: the call named no request and requests differ; ``allowed`` is then False.
    ``permission_index`` counts from 0 within ``decided_by``.  ``overridden`` are the
    intentions that cover the same pair and had no say, the strongest first.
    """

    allowed: bool
    decided_by: Intention | None
    permission_index: int | None
    reason: str
    overridden: tuple[Intention, ...] = ()
    conditional: bool = False


def ranked(intentions: IntentionsByDestination, destination: str) -> tuple[Intention, ...]:
    """Return what is said of ``destination``, by name or by ``*``, the strongest first."""
    return tuple(
        _ranked(intention for name in _names(destination) for intention in intentions.get(name, ()))
    )


def _names(destination: str) -> tuple[str, ...]:
    return (destination,) if destination == WILDCARD else (destination, WILDCARD)


def _ranked(found: Iterable[Intention]) -> list[Intention]:
    return sorted(found, key=lambda intention: (-intention.precedence, intention.source))


def applicable(intentions: IntentionsByDestination, destination: str) -> tuple[Intention, ...]:
    """Return the intentions in force for ``destination``, the strongest first.

    Of several with the same source only the strongest is in force.
    """
    strongest: dict[str, Intention] = {}
    for intention in ranked(intentions, destination):
        strongest.setdefault(intention.source, intention)
    return tuple(strongest.values())


def outcomes(intention: Intention, protocol: Protocol, *, default_allow: bool) -> frozenset[bool]:
    """Return what may become of the calls that ``intention`` covers (True: allowed)."""
    if not protocol.is_http:
        return frozenset({not intention.permissions and intention.action is Action.ALLOW})
    if not intention.permissions:
        found = {intention.action is Action.ALLOW}
    else:
        found = set()
        for permission in intention.permissions:
            found.add(permission.action is Action.ALLOW)
            if _is_unconditional(permission):
                break
        else:
            found.add(default_allow)
    if intention.jwt and True in found:
        found |= {False}
    return frozenset(found)


def judge(intentions: IntentionsByDestination, call: Call, *, default_allow: bool) -> Verdict:
    """Decide ``call`` as the proxies do."""
    covering = _covering(intentions, call.source, call.destination)
    peer = callers.peer_of(call.source)
    default_allow = default_allow and not peer
    if not covering:
        reason = (
            f"no intention covers {call.source} → {call.destination}: {_default(default_allow)}"
        )
        if peer:
            reason += f", for {peer} is a peer, and only what names it lets its callers in"
        return Verdict(default_allow, None, None, reason)
    decisive, *rest = covering
    allowed, index, reason, conditional = _decide(decisive, call, default_allow=default_allow)
    return Verdict(allowed, decisive, index, reason, tuple(rest), conditional)


def _covering(
    intentions: IntentionsByDestination, source: str, destination: str
) -> list[Intention]:
    sources = (source, callers.everybody_like(source))
    # Asked for each upstream of each proxy: a list is made in half the time of a generator.
    found = [
        intention
        for name in _names(destination)
        for intention in intentions.get(name, ())
        if intention.source in sources
    ]
    return _ranked(found) if len(found) > 1 else found


def can_connect(
    intentions: IntentionsByDestination,
    source: str,
    destination: str,
    protocol: Protocol,
    *,
    default_allow: bool,
) -> bool:
    """Say whether some call from ``source`` to ``destination`` may be allowed."""
    covering = _covering(intentions, source, destination)
    default_allow = default_allow and callers.AT not in source
    if not covering:
        return default_allow
    return True in outcomes(covering[0], protocol, default_allow=default_allow)


_Decision = tuple[bool, int | None, str, bool]
"""Allowed, index of the permission, reason, conditional."""


def _decide(intention: Intention, call: Call, *, default_allow: bool) -> _Decision:
    if not call.protocol.is_http:
        return _decide_connection(intention, call)
    possible = outcomes(intention, call.protocol, default_allow=default_allow)
    if not call.is_request:
        return _decide_any_request(intention, possible)
    if True in possible and not token_suffices(intention.jwt, call):
        providers = " or ".join(sorted({need.provider for need in intention.jwt}))
        reason = f"{_name(intention)} requires a token of {providers}, with its claims"
        return False, None, reason, False
    return _decide_request(intention, call, default_allow=default_allow)


def _decide_request(intention: Intention, call: Call, *, default_allow: bool) -> _Decision:
    name = _name(intention)
    for index, permission in enumerate(intention.permissions):
        if matches(permission, call):
            allowed = permission.action is Action.ALLOW
            return allowed, index, f"permission {index + 1} of {name} {_verb(allowed)} it", False
    if intention.permissions:
        reason = f"no permission of {name} matches the request: {_default(default_allow)}"
        return default_allow, None, reason, False
    allowed = intention.action is Action.ALLOW
    return allowed, None, f"{name} {_verb(allowed)} it", False


def _decide_any_request(intention: Intention, possible: frozenset[bool]) -> _Decision:
    if len(possible) > 1:
        return False, None, f"{_name(intention)} depends on the request", True
    (allowed,) = possible
    return allowed, None, f"{_name(intention)} {_verb(allowed)} every request", False


def _decide_connection(intention: Intention, call: Call) -> _Decision:
    name = _name(intention)
    if intention.permissions:
        reason = (
            f"{name} has permissions for requests, but {call.destination} speaks "
            f"{call.protocol}: the whole intention denies"
        )
        return False, None, reason, False
    allowed = intention.action is Action.ALLOW
    return allowed, None, f"{name} {_verb(allowed)} it", False


def _is_unconditional(permission: Permission) -> bool:
    conditions = (permission.path, permission.methods, permission.headers, permission.jwt)
    return not any(conditions)


def _name(intention: Intention) -> str:
    return f"the intention {intention.label}"


def _verb(allowed: bool) -> str:  # noqa: FBT001 - a word chosen by its only argument
    return "allows" if allowed else "denies"


def _default(allow: bool) -> str:  # noqa: FBT001 - a word chosen by its only argument
    return f"the default policy {_verb(allow)} it"
