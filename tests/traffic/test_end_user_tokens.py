"""End users' tokens (JWT): who must show one, issued by whom, saying what."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import AsyncIterator
from typing import Any

import jwt
import pytest
import pytest_asyncio
from cryptography.hazmat.primitives.asymmetric import ec
from jwt.algorithms import ECAlgorithm

from mesh.model.intentions import (
    Action,
    ClaimMatch,
    Intention,
    JwtRequirement,
    PathMatch,
    PathMatchKind,
    Permission,
)
from tests.traffic.bed import Bed
from tests.traffic.callee import answered, rules, statuses

pytestmark = [pytest.mark.e2e, pytest.mark.asyncio(loop_scope="session")]

KIND = "MeshRequestAuthentication"
KEYS = {name: ec.generate_private_key(ec.SECP256R1()) for name in ("corporate", "partners")}


def token(issuer: str = "corporate", *, signed_by: str = "", **claims: object) -> dict[str, str]:
    """Return the header of a request whose user shows a token."""
    said = {"iss": f"https://{issuer}.example", "exp": int(time.time()) + 600, **claims}
    key = KEYS[signed_by or issuer]
    text = jwt.encode(said, key, algorithm="ES256", headers={"kid": "one"})
    return {"authorization": f"Bearer {text}"}


@pytest_asyncio.fixture(loop_scope="session", autouse=True)
async def issuers(bed: Bed) -> AsyncIterator[None]:
    """Let the registry know who issues tokens."""
    for name, key in KEYS.items():
        public = json.loads(ECAlgorithm.to_jwk(key.public_key()))
        keys = json.dumps({"keys": [{**public, "kid": "one", "alg": "ES256", "use": "sig"}]})
        local = {"JWKS": base64.b64encode(keys.encode()).decode()}
        await bed.entry(
            "jwt-provider",
            name,
            Issuer=f"https://{name}.example",
            JSONWebKeySet={"Local": local},
        )
    yield


async def test_token_is_required(bed: Bed) -> None:
    await bed.apply(rules(KIND, "[{default: {providers: [corporate]}}]"))
    await answered(bed, 200, headers=token())
    assert await statuses(bed, 3) == [401] * 3
    assert await statuses(bed, 3, headers=token(sub="ann")) == [200] * 3


@pytest.mark.parametrize(
    "bad",
    [
        {"authorization": "Bearer nonsense"},
        token(exp=int(time.time()) - 600),
        token(nbf=int(time.time()) + 600),
        token(signed_by="partners"),
        token("partners"),
        {"authorization": "Basic YW5uOnNlY3JldA=="},
    ],
    ids=["malformed", "expired", "not yet valid", "forged", "another issuer's", "no token"],
)
async def test_token_that_is_not_valid_is_refused(bed: Bed, bad: dict[str, str]) -> None:
    await bed.apply(rules(KIND, "[{default: {providers: [corporate]}}]"))
    await answered(bed, 200, headers=token())
    assert await statuses(bed, 3, "/bad", headers=bad) == [401] * 3
    assert not any(app.seen["/bad"] for app in bed.apps.values())


async def test_token_of_any_of_several_issuers(bed: Bed) -> None:
    await bed.apply(rules(KIND, "[{default: {providers: [corporate, partners]}}]"))
    for issuer in KEYS:
        await answered(bed, 200, headers=token(issuer))
    assert await statuses(bed, 2) == [401] * 2
    assert await statuses(bed, 2, headers=token("corporate", signed_by="partners")) == [401] * 2


async def test_token_without_the_claims_is_forbidden(bed: Bed) -> None:
    claims = "[{path: realm.role, value: admin}, {path: team, value: api}]"
    await bed.apply(rules(KIND, f"[{{default: {{providers: [corporate], claims: {claims}}}}}]"))
    good: dict[str, Any] = {"realm": {"role": "admin"}, "team": "api"}
    await answered(bed, 200, headers=token(**good))
    assert await statuses(bed, 2, headers=token(**{**good, "team": "web"})) == [403] * 2
    assert await statuses(bed, 2, headers=token(team="api")) == [403] * 2
    assert await statuses(bed, 2) == [401] * 2
    refused = await bed.call("/secret", headers=token())
    assert "the token lacks a claim that GET /secret needs on api" in refused.text


async def test_token_is_optional_but_must_be_valid(bed: Bed) -> None:
    await bed.apply(rules(KIND, "[{default: {providers: [corporate], optional: true}}]"))
    await answered(bed, 401, headers=token(signed_by="partners"))
    assert await statuses(bed, 3) == [200] * 3
    await answered(bed, 200, headers=token())


async def test_token_by_path(bed: Bed) -> None:
    by_path = """
    - matches: [{path: {type: PathPrefix, value: /admin}}]
      default: {providers: [corporate], claims: [{path: role, value: admin}]}
    - matches: [{path: {type: PathPrefix, value: /public}}]
      default: {providers: [corporate], optional: true}
    - matches: [{path: {type: PathPrefix, value: /users}}]
      default: {providers: [corporate]}
    """
    await bed.apply(rules(KIND, by_path))
    await answered(bed, 200, "/users", headers=token())
    paths = ("/admin/x", "/public/x", "/users/x", "/health")

    async def found(headers: dict[str, str]) -> list[int]:
        return [(await bed.call(path, headers=headers)).status for path in paths]

    assert await found({}) == [401, 200, 401, 200]
    assert await found(token()) == [403, 200, 200, 200]
    assert await found(token(role="admin")) == [200] * 4
    assert await found(token(exp=1)) == [401, 401, 401, 200]


async def test_token_reaches_the_application(bed: Bed) -> None:
    await bed.apply(rules(KIND, "[{default: {providers: [corporate]}}]"))
    shown = token(sub="ann")
    answer = await answered(bed, 200, headers=shown)
    assert answer.json["headers"]["authorization"] == shown["authorization"]


async def test_token_of_an_issuer_that_nobody_defined_is_refused(bed: Bed) -> None:
    await bed.apply(rules(KIND, "[{default: {providers: [nobody]}}]"))
    assert await statuses(bed, 2, headers=token()) == [403] * 2


async def test_tokens_for_the_policy_and_for_the_intention_both_count(bed: Bed) -> None:
    def allowed(path: str, *claims: ClaimMatch) -> Permission:
        need = JwtRequirement("corporate", claims)
        return Permission(Action.ALLOW, path=PathMatch(PathMatchKind.PREFIX, path), jwt=(need,))

    wanted = allowed("/", ClaimMatch(("team",), "api"))
    claims = "[{path: role, value: admin}]"
    await bed.consul.intentions.put(Intention("web", "api", permissions=(wanted,)))
    try:
        await bed.apply(rules(KIND, f"[{{default: {{providers: [corporate], claims: {claims}}}}}]"))
        both = token(team="api", role="admin")
        await answered(bed, 200, headers=both)
        # The intention is asked first; it knows no 401.
        refused = await answered(bed, 403, headers=token(role="admin"))
        assert "no intention allows this request" in refused.text
        refused = await bed.call(headers=token(team="api"))
        assert refused.status == 403
        assert "the token lacks a claim" in refused.text
        assert (await bed.call()).status == 403
        # The intention speaks of web only.
        assert (await bed.call(caller="admin", headers=token(role="admin"))).status == 200
        assert (await bed.call(caller="admin")).status == 401
        answer = await bed.call(headers=both)
        assert answer.status == 200
        assert answer.json["headers"]["authorization"] == both["authorization"]
    finally:
        await bed.consul.intentions.delete("web", "api")
    await answered(bed, 200, headers=token(role="admin"))


async def test_a_query_makes_no_request_another_one(bed: Bed) -> None:
    # Each kind tells requests apart by their path; one of the two conditions is then asked of
    # path and query together.
    guard = """
    - matches: [{path: {type: RegularExpression, value: "^.*/public$"}}]
      default: {providers: [corporate], optional: true}
    - default: {providers: [corporate]}
    """
    slow = """
    - matches: [{path: {type: RegularExpression, value: "/(admin|open).*"}}]
      default: {http: {requestTimeout: 9s}}
    """
    await bed.apply(rules(KIND, guard))
    await bed.apply(rules("MeshTimeout", slow, name="slow"))
    await answered(bed, 401, "/admin")
    for path in ("/admin", "/open/public", "/other/public"):
        expected = 200 if path.endswith("public") else 401
        assert await statuses(bed, 1, path) == [expected]
        assert await statuses(bed, 1, f"{path}?x=/public") == [expected]
        assert await statuses(bed, 1, f"{path}?/public") == [expected]
