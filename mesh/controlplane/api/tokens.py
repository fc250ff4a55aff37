"""``/v1/tokens``: join tokens, made and revoked by an administrator."""

from __future__ import annotations

from datetime import timedelta

from mesh.controlplane.api.model import Nothing, TokenAnswer, TokenRequest
from mesh.controlplane.api.route import AnyRoute, Call, Caller, Reads, Route
from mesh.controlplane.tokens import TokenOffice


def routes(office: TokenOffice) -> list[AnyRoute]:
    """Return the routes of join tokens."""

    async def create(call: Call, request: TokenRequest) -> TokenAnswer:
        minted = await office.mint(
            service=request.service or "",
            prefix=request.prefix or "",
            reusable=request.reusable,
            ttl=timedelta(seconds=request.ttl_seconds),
            source=call.source,
        )
        return TokenAnswer(token=minted.token, id=minted.id, expires_at=minted.expires_at)

    async def revoke(call: Call, _request: Nothing) -> Nothing:
        await office.revoke(call.path["id"], call.source)
        return Nothing()

    return [
        Route(
            "POST",
            "/v1/tokens",
            "Make a join token",
            Caller.ADMIN,
            Reads.BODY,
            TokenRequest,
            TokenAnswer,
            create,
            status=201,
        ),
        Route(
            "DELETE",
            "/v1/tokens/{id}",
            "Revoke a join token, used or not",
            Caller.ADMIN,
            Reads.NOTHING,
            Nothing,
            Nothing,
            revoke,
        ),
    ]
