"""Whether a token may do what a command about policies does, before anything is read.

Consul answers a token without rights as if nothing were there: policies would seem not to stand,
and every service to speak tcp.
"""

from __future__ import annotations

from collections.abc import Sequence
from http import HTTPStatus
from typing import Final

from mesh.cli.checks.consul_rights import ANY, Right, ask
from mesh.clients.consul import ConsulClient, Forbidden, Refused
from mesh.clients.consul.errors import Call, ConsulError

_STORES: Final = ("mesh/policies/", "mesh/policy-history/")


def _keys(access: str, prefixes: Sequence[str] = _STORES) -> tuple[Right, ...]:
    return tuple(
        Right("key", prefix, access, f'key_prefix "{prefix}" {{ policy = "{access}" }}', "")
        for prefix in prefixes
    )


_COPIES: Final = _keys("read", ("mesh/mirror/policies/",))
"""Those of the primary zone count as well."""
READ: Final = (*_keys("read"), *_COPIES)
"""What it takes to see policies."""
WRITE: Final = (
    *_keys("write"),
    *_COPIES,
    Right("service", ANY, "read", 'service_prefix "" { policy = "read" }', ""),
)
"""What it takes to change them: entries are read to hold them against.

Who may write may read."""


class MissingRightsError(ConsulError):
    """The token lacks rights that the command needs; every one is named."""


async def require(consul: ConsulClient, rights: Sequence[Right]) -> None:
    """See that the token has all of ``rights``.

    Raises:
        MissingRightsError: it has not.
        ConsulError: Consul did not answer, or refused.

    """
    try:
        allowed = await ask(consul, rights)
    except Forbidden:
        raise
    except Refused as error:
        if error.status != HTTPStatus.UNAUTHORIZED:
            raise
        return  # ACLs are off.
    if allowed is None:
        return
    missing = [right for right, allow in zip(rights, allowed, strict=True) if not allow]
    if missing:
        names = ", ".join(_named(right) for right in missing)
        rules = " ".join(dict.fromkeys(right.rule for right in missing))
        call = Call("POST", "/v1/internal/acl/authorize", consul.address.url)
        raise MissingRightsError(f"the token lacks {names}", call, f"Add to its policy: {rules}")


def _named(right: Right) -> str:
    segment = "" if right.segment == ANY else f" {right.segment}"
    return f"{right.access} on {right.resource}{segment}"
