"""L7 intentions on real requests, and how a change of mind reaches open connections."""

from __future__ import annotations

import base64
import json
import time
import uuid

import aiohttp
import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from jwt.algorithms import ECAlgorithm

from mesh.model.intentions import (
    Action,
    ClaimMatch,
    HeaderMatch,
    HeaderMatchKind,
    Intention,
    JwtRequirement,
    PathMatch,
    PathMatchKind,
    Permission,
)
from tests.e2e.bed import CALLER, Bed
from tests.traffic.waiting import until

pytestmark = [pytest.mark.e2e, pytest.mark.asyncio(loop_scope="session")]


async def status(
    bed: Bed, path: str, *, method: str = "GET", headers: dict[str, str] | None = None
) -> int:
    async with (
        aiohttp.ClientSession() as session,
        session.request(method, bed.url("shop", path), headers=headers) as answer,
    ):
        return answer.status


async def permit(bed: Bed, *permissions: Permission) -> None:
    """Write the permissions, with one more by which to see that they are in force."""
    mark = f"/mark/{uuid.uuid4()}"
    seen = Permission(Action.ALLOW, path=PathMatch(PathMatchKind.EXACT, mark))
    await bed.consul.intentions.put(Intention(CALLER, "shop", permissions=(*permissions, seen)))

    async def bitten() -> bool | None:
        refused = await status(bed, f"{mark}/other") == 403
        return True if refused and await status(bed, mark) == 200 else None

    await until("the permissions are in force", bitten)


async def test_by_path(bed: Bed) -> None:
    await permit(
        bed,
        Permission(Action.DENY, path=PathMatch(PathMatchKind.EXACT, "/v1/secret")),
        Permission(Action.ALLOW, path=PathMatch(PathMatchKind.PREFIX, "/v1/")),
        Permission(Action.ALLOW, path=PathMatch(PathMatchKind.REGEX, "/things/[0-9]+")),
    )
    assert await status(bed, "/v1/a") == 200
    assert await status(bed, "/v1/secret") == 403
    assert await status(bed, "/v1/secret?x=1") == 403
    assert await status(bed, "/things/42") == 200
    assert await status(bed, "/things/42/more") == 403
    assert await status(bed, "/v1//secret") == 403
    assert await status(bed, "/v1/a/../../other") == 403


async def test_by_method(bed: Bed) -> None:
    read = Permission(
        Action.ALLOW, path=PathMatch(PathMatchKind.PREFIX, "/read"), methods=("GET", "HEAD")
    )
    await permit(bed, read)
    assert await status(bed, "/read") == 200
    assert await status(bed, "/read", method="DELETE") == 403


async def test_by_header(bed: Bed) -> None:
    def with_header(match: HeaderMatch, path: str) -> Permission:
        return Permission(Action.ALLOW, path=PathMatch(PathMatchKind.EXACT, path), headers=(match,))

    kind = HeaderMatchKind
    await permit(
        bed,
        with_header(HeaderMatch("x-role", kind.EXACT, "Admin", ignore_case=True), "/exact"),
        with_header(HeaderMatch("x-role", kind.PREFIX, "adm"), "/prefix"),
        with_header(HeaderMatch("x-role", kind.SUFFIX, "min"), "/suffix"),
        with_header(HeaderMatch("x-role", kind.CONTAINS, "dmi"), "/contains"),
        with_header(HeaderMatch("x-role", kind.REGEX, "a[a-z]+"), "/regex"),
        with_header(HeaderMatch("x-role", kind.PRESENT), "/present"),
        with_header(HeaderMatch("x-role", kind.PRESENT, invert=True), "/absent"),
    )
    for path in ("/exact", "/prefix", "/suffix", "/contains", "/regex", "/present"):
        assert await status(bed, path, headers={"x-role": "admin"}) == 200, path
        assert await status(bed, path) == 403, path
    assert await status(bed, "/absent") == 200
    assert await status(bed, "/absent", headers={"x-role": "admin"}) == 403


async def test_by_token(bed: Bed) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    public = json.loads(ECAlgorithm.to_jwk(key.public_key()))
    key_set = json.dumps({"keys": [{**public, "kid": "one", "alg": "ES256", "use": "sig"}]})
    await bed.consul.config_put(
        {
            "Kind": "jwt-provider",
            "Name": "login",
            "Issuer": "https://login.demo",
            "JSONWebKeySet": {"Local": {"JWKS": base64.b64encode(key_set.encode()).decode()}},
        }
    )
    need = JwtRequirement("login", (ClaimMatch(("role",), "admin"),))
    await permit(
        bed,
        Permission(Action.ALLOW, path=PathMatch(PathMatchKind.EXACT, "/token"), jwt=(need,)),
    )

    def bearer(**claims: object) -> dict[str, str]:
        body = {"iss": "https://login.demo", "exp": int(time.time()) + 600, **claims}
        token = jwt.encode(body, key, algorithm="ES256", headers={"kid": "one"})
        return {"authorization": f"Bearer {token}"}

    assert await status(bed, "/token") == 403
    assert await status(bed, "/token", headers=bearer(role="admin")) == 200
    assert await status(bed, "/token", headers=bearer(role="guest")) == 403
    assert await status(bed, "/token", headers=bearer(role="admin", exp=1)) == 403
    forged = jwt.encode(
        {"iss": "https://login.demo", "role": "admin"},
        ec.generate_private_key(ec.SECP256R1()),
        algorithm="ES256",
        headers={"kid": "one"},
    )
    assert await status(bed, "/token", headers={"authorization": f"Bearer {forged}"}) == 403


async def test_the_refusal_of_a_request_says_what_was_refused(bed: Bed) -> None:
    only = Permission(Action.ALLOW, path=PathMatch(PathMatchKind.EXACT, "/only"))
    await permit(bed, only)
    async with (
        aiohttp.ClientSession() as session,
        session.delete(bed.url("shop", "/x")) as answer,
    ):
        assert answer.status == 403
        words = await answer.text()
    assert "DELETE /x" in words
    assert "svc/caller" in words


async def test_the_application_learns_its_callers_identity(bed: Bed) -> None:
    async with (
        aiohttp.ClientSession() as session,
        session.get(
            bed.url("shop", "/only"),
            headers={"x-forwarded-client-cert": "URI=spiffe://forged"},
        ) as answer,
    ):
        seen = (await answer.json())["headers"]["x-forwarded-client-cert"]
    assert "URI=spiffe://demo.mesh/ns/default/dc/dc1/svc/caller" in seen
    assert "forged" not in seen


async def test_back_to_a_plain_intention(bed: Bed) -> None:
    await bed.allow(CALLER, "shop")

    async def open_again() -> bool | None:
        return True if await status(bed, "/anything") == 200 else None

    await until("everything allowed again", open_again)
