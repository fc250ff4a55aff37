"""Plain HTTP from outside: hosts, routes, refusals, headers, and changes under load."""

from __future__ import annotations

import asyncio
import re
from collections import Counter

import aiohttp
import pytest

from mesh.demo.estate import HOST
from mesh.demo.load import Load
from mesh.model.intentions import Action
from tests.edge.bed import EDGE, Bed, gateway
from tests.traffic.documents import http_route
from tests.traffic.waiting import until

pytestmark = [pytest.mark.e2e, pytest.mark.asyncio(loop_scope="session")]


async def test_an_ingress_gateway_entry_serves_by_host(bed: Bed) -> None:
    await bed.entry(
        {
            "Port": bed.ports["http"],
            "Protocol": "http",
            "Services": [{"Name": "web", "Hosts": ["shop.test"]}, {"Name": "api"}],
        },
        {"Port": bed.ports["tcp"], "Protocol": "tcp", "Services": [{"Name": "store"}]},
    )
    assert (await bed.answered(200, host="shop.test")).instance == "web-1"
    # Without hosts, Consul's own.
    assert (await bed.call(host="api.ingress.consul")).instance.startswith("api-")
    assert (await bed.call(host=f"SHOP.test:{bed.ports['http']}")).instance == "web-1"
    nobody = await bed.call(host="other.test")
    assert (nobody.status, nobody.text) == (
        404,
        "mesh: no service is served under this host here\n",
    )
    assert nobody.headers["server"] == "mesh"

    async def stored() -> bytes | None:
        try:
            reader, writer = await asyncio.open_connection(HOST, bed.ports["tcp"])
        except OSError:
            return None
        found = await reader.readline()
        writer.close()
        return found or None

    assert await until("the tcp listener serves", stored) == b"store-1\n"


async def test_every_service_that_speaks_http_is_served(bed: Bed) -> None:
    await bed.entry({"Port": bed.ports["http"], "Protocol": "http", "Services": [{"Name": "*"}]})
    assert (await bed.answered(200, host="web.ingress.consul")).instance == "web-1"
    assert (await bed.call(host="api.ingress.consul")).status == 200
    assert (await bed.call(host="store.ingress.consul")).status == 404


async def test_a_forbidden_call_is_told_and_granted_without_a_restart(bed: Bed) -> None:
    await bed.apply(gateway(_on(bed, {"service": "web", "hostnames": ["shop.test"]})))
    await bed.answered(200, host="shop.test")
    # A connection of before lives through both: no listener is drained, no Envoy replaced.
    reader, writer = await asyncio.open_connection(HOST, bed.ports["http"])
    assert await _status(reader, writer, "shop.test") == 200
    await bed.intention(Action.DENY, "web")
    refused = await bed.answered(403, host="shop.test")
    assert refused.text.startswith("mesh: edge may not call web in zone dc1: ")
    assert refused.text.endswith("To allow it: mesh intention allow edge web\n")
    assert await _status(reader, writer, "shop.test") == 403
    await bed.estate.mesh(["intention", "allow", "edge", "web"])
    assert (await bed.answered(200, host="shop.test")).instance == "web-1"
    assert await _status(reader, writer, "shop.test") == 200
    writer.close()


async def test_the_services_own_routes_hold_and_those_attached_to_the_gateway(bed: Bed) -> None:
    rules = """
    - matches: [{path: {type: PathPrefix, value: /v2}}]
      default:
        filters:
          - type: URLRewrite
            urlRewrite: {path: {type: ReplacePrefixMatch, replacePrefixMatch: /two}}
          - type: RequestHeaderModifier
            requestHeaderModifier: {set: [{name: x-by, value: edge}]}
        backendRefs: [{kind: MeshService, name: api, subset: v2}]
    - matches: [{headers: [{name: x-tester, value: "yes"}]}]
      default: {backendRefs: [{kind: MeshService, name: api, subset: v1}]}
    - matches: [{path: {type: Exact, value: /old}}]
      default:
        filters:
          - type: RequestRedirect
            requestRedirect: {path: {type: ReplaceFullPath, replaceFullPath: /new}, statusCode: 301}
    - matches: [{path: {type: PathPrefix, value: /split}}]
      default:
        backendRefs:
          - {kind: MeshService, name: api, subset: v1, weight: 75}
          - {kind: MeshService, name: api, subset: v2, weight: 25}
    """
    await bed.apply(
        gateway(_on(bed, {"service": "api", "hostnames": ["api.test"]})),
        http_route(rules, proxies=EDGE),
    )
    answer = await bed.answered(200, "/v2/x?q=1", host="api.test")
    assert (answer.instance, answer.asked["path"]) == ("api-2", "/two/x?q=1")
    assert answer.asked["headers"]["x-by"] == "edge"
    tester = {"x-tester": "yes"}
    found = [await bed.call(host="api.test", headers=tester) for _ in range(8)]
    assert {one.instance for one in found} == {"api-1"}
    moved = await bed.call("/old", host="api.test")
    assert (moved.status, moved.headers["location"]) == (301, "http://api.test/new")
    spread = Counter([(await bed.call("/split", host="api.test")).instance for _ in range(200)])
    assert 25 <= spread["api-2"] <= 85


async def test_paths_divide_a_host_and_a_services_rewrite_is_its_own(bed: Bed) -> None:
    rules = """
    - matches: [{path: {type: PathPrefix, value: /}}]
      default:
        filters:
          - type: URLRewrite
            urlRewrite: {path: {type: ReplacePrefixMatch, replacePrefixMatch: /in}}
    """
    edits = {"responseHeaders": {"set": [{"name": "x-part", "value": "api"}]}}
    await bed.apply(
        gateway(
            _on(
                bed,
                {"service": "web", "hostnames": ["shop.test"]},
                {"service": "api", "hostnames": ["shop.test"], "path": "/api", **edits},
            )
        ),
        http_route(rules, proxies=EDGE),
    )
    answer = await bed.answered(200, "/api/x", host="shop.test")
    assert (answer.asked["path"], answer.headers["x-part"]) == ("/in/api/x", "api")
    assert (await bed.call("/api?q=1", host="shop.test")).instance.startswith("api-")
    assert (await bed.call("/apis", host="shop.test")).instance == "web-1"


async def test_what_a_client_says_of_itself_is_dropped(bed: Bed) -> None:
    await bed.apply(gateway(_on(bed, {"service": "web"})))
    await bed.answered(200, host="any.test")
    forged = {
        "x-forwarded-client-cert": "By=x;Hash=0;URI=spiffe://demo.mesh/ns/default/dc/dc1/svc/admin",
        "x-forwarded-for": "203.0.113.9",
        "x-forwarded-host": "evil.test",
        "x-forwarded-proto": "https",
        "x-forwarded-port": "1",
        "x-real-ip": "203.0.113.9",
        "forwarded": "for=203.0.113.9",
        "x-envoy-upstream-rq-timeout-ms": "1",
        "x-envoy-original-path": "/admin",
        "x-envoy-internal": "true",
        "x-envoy-retry-on": "5xx",
        "x-request-id": "mine",
        "x-kept": "yes",
    }
    seen = (await bed.call(host="any.test", headers=forged)).asked["headers"]
    assert seen["x-kept"] == "yes"
    # From loopback Envoy names its own address.
    assert "203.0.113.9" not in seen["x-forwarded-for"]
    assert seen["x-forwarded-proto"] == "http"
    assert seen["x-request-id"] != "mine"
    gone = forged.keys() - {"x-kept", "x-forwarded-for", "x-forwarded-proto", "x-request-id"}
    assert not gone & seen.keys() - {"x-forwarded-client-cert"}
    assert "admin" not in seen.get("x-forwarded-client-cert", "")
    # Envoy's own word, of the connection.
    assert [name for name in seen if name.startswith("x-envoy-")] == ["x-envoy-external-address"]


async def test_a_listener_that_trusts_a_proxy_believes_it(bed: Bed) -> None:
    await bed.apply(gateway({**_on(bed, {"service": "web"}), "trustedProxies": 1}))
    await bed.answered(200, host="any.test")
    said = {"x-forwarded-for": "203.0.113.9", "x-forwarded-proto": "https"}
    seen = (await bed.call(host="any.test", headers=said)).asked["headers"]
    assert seen["x-forwarded-for"].startswith("203.0.113.9,")
    assert seen["x-forwarded-proto"] == "https"


async def test_odd_requests_are_not_let_through(bed: Bed) -> None:
    await bed.apply(gateway(_on(bed, {"service": "web"})))
    await bed.answered(200, host="any.test")
    turned = await _raw(bed, b"GET /a%2Fb HTTP/1.1\r\nhost: any.test\r\n\r\n")
    assert turned.startswith(b"HTTP/1.1 307")
    assert b"location: /a/b" in turned
    underscored = b"GET / HTTP/1.1\r\nhost: any.test\r\nx_user: admin\r\n\r\n"
    assert (await _raw(bed, underscored)).startswith(b"HTTP/1.1 400")
    many = b"".join(b"x-%d: 1\r\n" % number for number in range(150))
    crowded = await _raw(bed, b"GET / HTTP/1.1\r\nhost: any.test\r\n" + many + b"\r\n")
    assert crowded.startswith(b"HTTP/1.1 431")
    plain = await _raw(
        bed, b"GET //x/../y HTTP/1.1\r\nhost: any.test.\r\nconnection: close\r\n\r\n"
    )
    assert b'"path": "/y"' in plain


async def test_changes_under_load_fail_no_request(bed: Bed) -> None:
    shop = {"service": "web", "hostnames": ["shop.test"]}
    await bed.apply(gateway(_on(bed, shop)))
    await bed.answered(200, host="shop.test")
    await bed.apply(gateway(_on(bed, {"service": "web"})))
    await bed.answered(200, host="any.test")
    async with Load(f"http://{HOST}:{bed.ports['http']}/") as load:
        await load.reach(100)
        # Another service, another route, another listener; then back.
        await bed.apply(gateway(_on(bed, {"service": "api"})))

        async def other() -> bool | None:
            return (await bed.call(host="any.test")).instance.startswith("api-") or None

        await until("the route leads to api", other)
        await bed.apply(
            gateway(
                _on(bed, {"service": "api"}, shop),
                {**_on(bed, {"service": "web"}), "port": bed.ports["spare"]},
            )
        )
        await bed.answered(200, host="any.test", port="spare")
        await load.reach(100)
        await bed.apply(gateway(_on(bed, shop, {"service": "web"})))

        async def back() -> bool | None:
            return (await bed.call(host="any.test")).instance == "web-1" or None

        await until("the route leads back", back)
        await load.reach(100)
    assert load.tally.failed == 0, str(load.tally)


async def test_a_policy_holds_over_the_entry_and_the_conflict_is_named(bed: Bed) -> None:
    await bed.entry(
        {
            "Port": bed.ports["http"],
            "Protocol": "http",
            "Services": [{"Name": "web", "Hosts": ["*"]}],
        },
    )
    await bed.answered(200, host="any.test")
    await bed.apply(gateway(_on(bed, {"service": "api"}, {"service": "ghost", "path": "/ghost"})))

    async def held() -> bool | None:
        return (await bed.call(host="any.test")).instance.startswith("api-") or None

    await until("the policy holds", held)
    code, output, _ = await bed.estate.mesh_result(["check", "-o", "json"])
    assert "gives way to MeshGateway edge" in output, (code, output)
    assert "there is no service ghost" in output


async def test_it_is_registered_and_tells_a_load_balancer(bed: Bed) -> None:
    async with aiohttp.ClientSession() as session:
        async with session.get(f"http://{HOST}:{bed.health_port}/ready") as answer:
            assert answer.status == 200
        async with session.get(f"http://{HOST}:{bed.health_port}/other") as answer:
            assert answer.status == 404

    async def registered() -> bool | None:
        headers = {"X-Consul-Token": bed.estate.consul_token.read_text()}  # type: ignore[union-attr]
        url = f"{bed.estate.consul_url}/v1/health/service/edge?passing=true"
        async with aiohttp.ClientSession(headers=headers) as session, session.get(url) as answer:
            found = await answer.json()
        return [one["Service"]["Kind"] for one in found] == ["ingress-gateway"] or None

    assert await until("consul knows the gateway", registered)


def _on(bed: Bed, *routes: object) -> dict[str, object]:
    return {"port": bed.ports["http"], "protocol": "HTTP", "routes": list(routes)}


async def _status(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, host: str) -> int:
    """Ask on a connection that stays open."""
    writer.write(f"GET / HTTP/1.1\r\nhost: {host}\r\n\r\n".encode())
    async with asyncio.timeout(5):
        head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
        (length,) = re.findall(r"\ncontent-length: (\d+)", head)
        await reader.readexactly(int(length))
    return int(head.split(" ")[1])


async def _raw(bed: Bed, request: bytes) -> bytes:
    reader, writer = await asyncio.open_connection(HOST, bed.ports["http"])
    writer.write(request)
    async with asyncio.timeout(5):
        found = await reader.read(65_536)
    writer.close()
    return found
