"""Proof by a Consul ACL token that may register the service.

Whoever may write a service in Consul could put any address behind its name, so letting him be
the service gives nothing away.  Consul itself is asked, with the caller's token.
"""

from __future__ import annotations

import re
from typing import Final

from mesh.clients.consul import ConsulClient, Forbidden, Refused
from mesh.controlplane.consul import ANONYMOUS, may_write_service
from mesh.controlplane.refusals import Reason, RefusedError

KIND: Final = "consul-token"
_UNAUTHORIZED: Final = 401
_SECRET: Final = re.compile(r"[!-~]+")
"""Consul takes a blank token for none, and acts with the default token of its agent instead."""


async def check(consul: ConsulClient, token: str, service: str) -> str:
    """Return the accessor id of ``token`` if it has ``service:write`` on ``service``.

    Raises:
        RefusedError: it has not.
        ConsulError: Consul did not answer.

    """
    if not _SECRET.fullmatch(token):
        raise RefusedError(
            Reason.MALFORMED,
            "what was sent is no Consul token: it has blanks or other characters that none has",
            remedy="pass the SecretID of a token, and nothing else",
        )
    try:
        accessor = (await consul.acl_token_self(token=token)).accessor_id
        allowed = accessor != ANONYMOUS and await may_write_service(consul, service, token)
    except Forbidden as error:
        raise RefusedError(
            Reason.UNKNOWN_TOKEN,
            "Consul does not know the token",
            remedy="pass the SecretID of a token of this datacenter",
        ) from error
    except Refused as error:
        if error.status != _UNAUTHORIZED:
            raise
        raise RefusedError(
            Reason.ACLS_OFF,
            "Consul's ACLs are off, so its tokens prove nothing",
            remedy="enrol with a join token ('mesh token create')",
        ) from error
    if accessor == ANONYMOUS:
        raise RefusedError(
            Reason.UNKNOWN_TOKEN,
            "Consul's anonymous token proves nothing",
            remedy="pass the SecretID of a token of the service's own",
        )
    if not allowed:
        raise RefusedError(
            Reason.NO_PERMISSION,
            f"the Consul token {accessor} may not register {service!r}",
            remedy=f'give it a service identity for "{service}", '
            f'or a policy with: service "{service}" {{ policy = "write" }}',
        )
    return accessor
