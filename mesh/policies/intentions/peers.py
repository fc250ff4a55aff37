r"""Who may finish a TLS handshake with a service: a set of callers as one regular expression.

Envoy's network RBAC judges a connection when its first byte *arrives*.  A protocol in which the
server speaks first would greet a forbidden caller before that, so the handshake itself admits
only callers that some call could be allowed.  The set is either a few names, or all names but a
few; RE2 has no lookahead, so the latter is spelled out from a trie of the excluded names.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

from mesh.model import callers
from mesh.model.intentions import IntentionsByDestination
from mesh.model.services import Protocol
from mesh.policies.intentions.verdict import applicable, can_connect

_NOBODY: Final = "nobody"
"""A regular expression that is no SPIFFE URI, hence matches none."""
_SEGMENT: Final = "[^/]"


@dataclass(frozen=True, slots=True)
class Callers:
    """The services ``names``, or with ``others`` every service but those."""

    names: frozenset[str] = field(default_factory=frozenset)
    others: bool = False

    def __contains__(self, service: object) -> bool:
        """Tell whether ``service`` is among them."""
        return (service in self.names) is not self.others

    def identity_regex(self, trust_domain: str, zone: str = "") -> str:
        """Return the RE2 expression that matches exactly their SPIFFE URIs.

        Without a ``zone`` they may be of any.
        """
        if self.others:
            service = _all_but(self.names)
        elif self.names:
            service = f"(?:{'|'.join(re.escape(name) for name in sorted(self.names))})"
        else:
            return _NOBODY
        where = re.escape(zone) if zone else f"{_SEGMENT}+"
        return f"spiffe://{re.escape(trust_domain)}/ns/default/dc/{where}/svc/{service}"


def admitted(
    intentions: IntentionsByDestination,
    destination: str,
    protocol: Protocol,
    *,
    default_allow: bool,
    peer: str = "",
) -> Callers:
    """Return the services of which some call to ``destination`` may be allowed.

    They are those of our own trust domain, or those of ``peer``.
    """

    def may(service: str) -> bool:
        source = callers.joined(service, peer)
        return can_connect(intentions, source, destination, protocol, default_allow=default_allow)

    named = {
        callers.split(intention.source)[0]
        for intention in applicable(intentions, destination)
        if intention.peer == peer and not callers.is_wildcard(intention.source)
    }
    # No service is called "", so this asks about everybody who is not named.
    others = may("")
    return Callers(frozenset(name for name in named if may(name) is not others), others=others)


@dataclass(slots=True)
class _Node:
    ends: bool = False
    following: dict[str, _Node] = field(default_factory=dict)


def _all_but(names: Iterable[str]) -> str:
    """Return an expression that matches every path segment except ``names``."""
    root = _Node(ends=True)  # the empty segment is no name either
    for name in names:
        node = root
        for letter in name:
            node = node.following.setdefault(letter, _Node())
        node.ends = True
    return _differing(root)


def _differing(node: _Node) -> str:
    if not node.following:
        return f"{_SEGMENT}+" if node.ends else f"{_SEGMENT}*"
    letters = sorted(node.following)
    other = "".join(re.escape(letter) for letter in letters)
    ways = [f"[^/{other}]{_SEGMENT}*"]
    ways += [re.escape(letter) + _differing(node.following[letter]) for letter in letters]
    return f"(?:{'|'.join(ways)})" + ("" if node.ends else "?")
