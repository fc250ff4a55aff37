"""An authorization service of the mesh is asked whether a request may pass."""

from __future__ import annotations

import pytest

from mesh.model.intentions import Action, Intention, PathMatch, PathMatchKind, Permission
from tests.traffic.bed import Bed
from tests.traffic.callee import Authorizer, always, answered, asking, at, rules, statuses

pytestmark = [pytest.mark.e2e, pytest.mark.asyncio(loop_scope="session")]

KIND = "MeshExternalAuthorization"
GRPC = "{service: authz, timeout: 9s}"
HTTP = """
service: gatekeeper
protocol: http
timeout: 9s
pathPrefix: /check
requestHeaders: [x-pass, x-tenant]
upstreamHeaders: [x-user]
"""
PASS = {"x-pass": "yes"}


async def test_grpc_authorizer_lets_pass_and_adds_headers(bed: Bed, authorizer: Authorizer) -> None:
    await asking(bed, "authz", always(KIND, GRPC))
    answer = await bed.call("/it?x=1", headers={**PASS, "x-user": "forged"})
    assert answer.status == 200
    assert answer.json["headers"]["x-user"] == "ann"
    assert authorizer.seen["/it?x=1"] == 1
    assert "x-forwarded-client-cert" in authorizer.headers


async def test_grpc_authorizer_refuses_in_its_own_words(bed: Bed, authorizer: Authorizer) -> None:
    await asking(bed, "authz", always(KIND, GRPC))
    refused = await bed.call("/refused")
    assert (refused.status, refused.text) == (402, "authz: pay first")
    assert refused.headers["x-why"] == "unpaid"
    assert authorizer.seen["/refused"] == 1
    assert not any(app.seen["/refused"] for app in bed.apps.values())


async def test_grpc_authorizer_is_shown_the_body(bed: Bed, authorizer: Authorizer) -> None:
    await asking(bed, "authz", always(KIND, "{service: authz, timeout: 9s, maxRequestBytes: 5}"))
    answer = await bed.call("/it", method="POST", body=b"0123456789", headers=PASS)
    assert answer.json["body"] == "0123456789"
    assert authorizer.body == "01234"


async def test_http_authorizer_lets_pass_and_adds_headers(bed: Bed, authorizer: Authorizer) -> None:
    await asking(bed, "gatekeeper", always(KIND, HTTP))
    sent = {**PASS, "x-tenant": "blue", "x-secret": "no", "x-user": "forged"}
    answer = await bed.call("/it", headers=sent)
    assert answer.status == 200
    assert answer.json["headers"]["x-user"] == "ann"
    assert "x-other" not in answer.json["headers"]
    assert authorizer.seen["/check/it"] == 1
    assert authorizer.headers["x-tenant"] == "blue"
    assert "x-secret" not in authorizer.headers


async def test_http_authorizer_refuses_in_its_own_words(bed: Bed, authorizer: Authorizer) -> None:
    await asking(bed, "gatekeeper", always(KIND, HTTP))
    refused = await bed.call("/refused")
    assert (refused.status, refused.text) == (451, "gatekeeper: not here")
    assert refused.headers["x-why"] == "law"
    assert authorizer.seen["/check/refused"] == 1


async def test_nobody_is_asked_about_an_exception(bed: Bed, authorizer: Authorizer) -> None:
    await asking(
        bed,
        "authz",
        rules(KIND, f"{at('/health', '{disabled: true}')}\n- {{default: {GRPC}}}", name="most"),
    )
    assert await statuses(bed, 3, "/health") == [200] * 3
    assert await statuses(bed, 3, "/other") == [402] * 3
    assert "/health" not in authorizer.seen


async def test_what_an_authorizer_tells_no_caller_can_say(bed: Bed, authorizer: Authorizer) -> None:
    told = "{service: gatekeeper, protocol: http, timeout: 9s, upstreamHeaders: [X-User]}"
    exception = f"{at('/health', '{disabled: true}')}\n- {{default: {told}}}"
    await asking(bed, "gatekeeper", rules(KIND, exception, name="most"))
    answer = await bed.call("/health", headers={"x-user": "forged", "x-mine": "kept"})
    assert answer.status == 200
    assert "x-user" not in answer.json["headers"]
    assert answer.json["headers"]["x-mine"] == "kept"


async def test_each_path_may_have_its_own_authorizer(bed: Bed, authorizer: Authorizer) -> None:
    http = "{service: gatekeeper, protocol: http, timeout: 9s, requestHeaders: [x-pass]}"
    await asking(bed, "authz", rules(KIND, f"{at('/law', http)}\n{at('/pay', GRPC)}"))
    found = [(await bed.call(path)).status for path in ("/law", "/pay", "/free")]
    assert found == [451, 402, 200]
    assert await statuses(bed, 2, "/law", headers=PASS) == [200] * 2
    assert authorizer.seen["/law"] == 3


async def test_nobody_is_asked_about_one_caller(bed: Bed, authorizer: Authorizer) -> None:
    exception = f"""
    - matches: [{{source: {{service: admin}}}}]
      default: {{disabled: true}}
    - default: {GRPC}
    """
    await asking(bed, "authz", rules(KIND, exception))
    assert await statuses(bed, 2, "/admin", caller="admin") == [200] * 2
    assert await statuses(bed, 2, "/web", caller="web") == [402] * 2
    assert (authorizer.seen["/admin"], authorizer.seen["/web"]) == (0, 2)


async def test_intentions_are_asked_before_the_authorizer(bed: Bed, authorizer: Authorizer) -> None:
    await asking(bed, "authz", always(KIND, GRPC))
    never = Permission(Action.DENY, path=PathMatch(PathMatchKind.PREFIX, "/never"))
    others = Permission(Action.ALLOW, path=PathMatch(PathMatchKind.PREFIX, "/"))
    await bed.consul.intentions.put(Intention("web", "api", permissions=(never, others)))
    try:
        await answered(bed, 403, "/never", headers=PASS)
        # What is open already still goes through the former filters, for seconds.
        await bed.renew()
        authorizer.seen.clear()
        assert await statuses(bed, 5, "/never/again", headers=PASS) == [403] * 5
        assert await statuses(bed, 1, "/other", headers=PASS) == [200]
        assert authorizer.seen == {"/other": 1}
    finally:
        await bed.consul.intentions.delete("web", "api")
    await answered(bed, 200, "/never", headers=PASS)


@pytest.mark.parametrize("how", [GRPC, "{service: gatekeeper, protocol: http, timeout: 9s}"])
async def test_without_the_authorizer_open_passes_and_closed_answers_503(
    bed: Bed, authorizer: Authorizer, how: str
) -> None:
    opened, closed = (f"{how[:-1]}, failureMode: {mode}}}" for mode in ("Open", "Closed"))
    listed = f"{at('/open', opened)}\n{at('/closed', closed)}\n{at('/unsaid', how)}"
    await asking(bed, "authz" if how == GRPC else "gatekeeper", rules(KIND, listed))
    assert {(await bed.call(path)).status for path in ("/open", "/closed")} <= {402, 451}
    await authorizer.stop()
    try:
        assert await statuses(bed, 3, "/open") == [200] * 3
        assert await statuses(bed, 3, "/closed") == [503] * 3
        assert await statuses(bed, 3, "/unsaid") == [503] * 3
    finally:
        await authorizer.start()
    await answered(bed, 402 if "authz" in how else 451, "/closed")
