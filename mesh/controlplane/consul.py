"""What the control plane asks of Consul beyond the client's common calls."""

from __future__ import annotations

from typing import Final

import msgspec

from mesh.clients.consul import Answer, ConsulClient

ANONYMOUS: Final = "00000000-0000-0000-0000-000000000002"
"""Accessor id of Consul's anonymous token, which is nobody's proof of anything."""


class RegisteredNode(msgspec.Struct, frozen=True, rename="pascal"):
    """A node of the catalog with its metadata."""

    node: str
    address: str = ""
    meta: dict[str, str] | None = None


class _Verdict(msgspec.Struct, frozen=True, rename="pascal"):
    allow: bool


_VERDICTS: Final = msgspec.json.Decoder(tuple[_Verdict, ...])
_NODES: Final = msgspec.json.Decoder(tuple[RegisteredNode, ...])


async def may_write_service(consul: ConsulClient, service: str, token: str) -> bool:
    """Ask Consul whether ``token`` has ``service:write`` on ``service``; nothing is changed.

    The question goes to ``/v1/internal/acl/authorize``, which Consul's own UI asks (1.8 and
    newer).  It weighs policies, roles and service identities alike, where reading the token and
    judging its rules ourselves would have to repeat all of that.

    Raises:
        Forbidden: Consul does not know the token.
        ConsulError: Consul did not answer.

    """
    reply = await consul.transport.request(
        "POST",
        "/v1/internal/acl/authorize",
        headers={"X-Consul-Token": token},
        body=msgspec.json.encode([{"Resource": "service", "Segment": service, "Access": "write"}]),
    )
    verdicts = Answer(reply.call, reply.body, reply.index, _VERDICTS.decode).value
    return len(verdicts) == 1 and verdicts[0].allow


async def nodes_with_meta(consul: ConsulClient, key: str, value: str) -> tuple[RegisteredNode, ...]:
    """Return the catalog's nodes whose metadata has ``value`` at ``key``.

    Raises:
        ConsulError: Consul did not answer.

    """
    reply = await consul.transport.request(
        "GET",
        "/v1/catalog/nodes",
        params=(("node-meta", f"{key}:{value}"),),
        headers=_headers(consul),
    )
    return Answer(reply.call, reply.body, reply.index, _NODES.decode).value


def _headers(consul: ConsulClient) -> dict[str, str]:
    return {"X-Consul-Token": consul.address.token} if consul.address.token else {}
