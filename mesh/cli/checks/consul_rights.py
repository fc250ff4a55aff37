"""What the token may do.

Consul answers a token without rights with 200 and an empty list, so reading proves nothing:
Consul is asked outright, as its own UI does.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Final

import msgspec

from mesh.cli.checks.model import Finding, failure, ok, warning
from mesh.clients.consul import Answer, ConsulClient, Forbidden, Refused

ANY: Final = "mesh-check-of-rights"
"""No service, node or key has this name, so only a rule for all of them allows it."""
_ACLS_OFF: Final = "ACLs are off: everybody may read and write everything"


@dataclass(frozen=True, slots=True)
class Right:
    """One thing that is done in Consul; ``rule`` allows it."""

    resource: str
    segment: str
    access: str
    rule: str
    why: str
    needed: bool = True


RIGHTS: Final = (
    Right("service", ANY, "read", 'service_prefix "" { policy = "read" }', "see services"),
    Right(
        "intention",
        ANY,
        "read",
        'service_prefix "" { policy = "read" intentions = "read" }',
        "see intentions",
    ),
    Right("node", ANY, "read", 'node_prefix "" { policy = "read" }', "see instances"),
    Right("key", "mesh/", "read", 'key_prefix "mesh/" { policy = "read" }', "read its own state"),
    Right(
        "key",
        "mesh/",
        "write",
        'key_prefix "mesh/" { policy = "write" }',
        "keep its state",
        needed=False,
    ),
    Right(
        "session",
        ANY,
        "write",
        'session_prefix "" { policy = "write" }',
        "elect a leader",
        needed=False,
    ),
)
"""What a zone needs.  A person's own token may well lack the writes."""


class _Allowed(msgspec.Struct, frozen=True, rename="pascal"):
    allow: bool


_DECODE: Final = msgspec.json.Decoder(tuple[_Allowed, ...]).decode


class ConsulRights:
    """Asks Consul what the token may do."""

    title = "rights of the token"
    vital = False

    def __init__(self, consul: ConsulClient) -> None:
        """Ask ``consul``."""
        self._consul = consul

    async def run(self) -> Sequence[Finding]:
        """Compare what is allowed with what a zone does."""
        try:
            allowed = await ask(self._consul, RIGHTS)
        except Forbidden as error:
            remedy = "Correct CONSUL_HTTP_TOKEN or --consul-token-file."
            return [failure(f"Consul does not know the token: {error.words}", remedy)]
        except Refused as error:
            if error.status != HTTPStatus.UNAUTHORIZED:
                raise
            return [ok(_ACLS_OFF)]
        return [ok("this registry has no ACLs")] if allowed is None else judge(allowed)


async def ask(consul: ConsulClient, rights: Sequence[Right]) -> Sequence[bool] | None:
    """Ask which of ``rights`` the token has; None from a registry that has no ACLs.

    Raises:
        Refused: with 401 where ACLs are off.
        Forbidden: Consul does not know the token.
        ConsulError: Consul did not answer.

    """
    asked = [
        {"Resource": right.resource, "Segment": right.segment, "Access": right.access}
        for right in rights
    ]
    token = consul.address.token
    reply = await consul.transport.request(
        "POST",
        "/v1/internal/acl/authorize",
        headers={"X-Consul-Token": token} if token else {},
        body=msgspec.json.encode(asked),
    )
    if not reply.found:
        return None
    answers = Answer(reply.call, reply.body, reply.index, _DECODE).value
    return [answer.allow for answer in answers]


def judge(allowed: Sequence[bool]) -> list[Finding]:
    """Name each right that is missing."""
    missing = [right for right, allow in zip(RIGHTS, allowed, strict=True) if not allow]
    if not missing:
        return [ok("the token may do all that a zone does")]
    return [_missing(right) for right in missing]


def _missing(right: Right) -> Finding:
    thing = f"{right.resource} {right.segment}" if right.segment != ANY else right.resource
    text = f"the token lacks {right.access} on {thing}: a zone with it cannot {right.why}"
    if right.needed:
        return failure(text, f"Add to its policy: {right.rule}")
    return warning(text, f"If it is a zone's, add to its policy: {right.rule}")
