"""MeshHTTPRoute: what rules become, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from mesh.model.destinations import Target
from mesh.model.intentions import HeaderMatch, HeaderMatchKind
from mesh.model.requests import (
    EVERYTHING,
    HeaderEdits,
    Match,
    PathKind,
    PathMatch,
    QueryKind,
    QueryMatch,
)
from mesh.model.traffic import (
    Cors,
    Forward,
    Mirror,
    PathRewrite,
    Redirect,
    Respond,
    RewriteKind,
    Route,
    Share,
)
from mesh.policies.kinds import retry
from mesh.policies.kinds.http_route import KIND, in_precedence, routes
from tests.policies.kinds import documents, reading
from tests.policies.kinds.on_envoy import validated

ITSELF = Forward((Share(Target("api")),))


def _spec(*rules: str) -> dict[str, Any]:
    return {"to": [{"targetRef": documents.API, "rules": [yaml.safe_load(rule) for rule in rules]}]}


def _routes(*rules: str) -> tuple[Route, ...]:
    return routes(documents.read(KIND, _spec(*rules)), "api")


def _filtered(*filters: str) -> Route:
    rule = {"default": {"filters": [yaml.safe_load(each) for each in filters]}}
    (route,) = _routes(yaml.safe_dump(rule))
    return route


def _refused(*rules: str) -> dict[str, str]:
    found = documents.refused(KIND, _spec(*rules))
    return {path.removeprefix("spec.to[0]."): message for path, message in found.items()}


def test_each_match_becomes_a_route() -> None:
    found = _routes("""
        matches:
          - path: {type: PathPrefix, value: /shop/}
            method: GET
            headers: [{name: X-Tester, value: "yes"}]
            queryParams: [{name: debug, type: Present}]
          - grpc: {service: shop.Cart, method: Add}
        default: {}
        """)

    assert found == (
        Route(
            Match(
                path=PathMatch(PathKind.SEGMENTS, "/shop"),
                methods=("GET",),
                headers=(HeaderMatch("x-tester", HeaderMatchKind.EXACT, "yes"),),
                query=(QueryMatch("debug", QueryKind.PRESENT),),
            ),
            ITSELF,
        ),
        Route(Match(path=PathMatch(PathKind.EXACT, "/shop.Cart/Add")), ITSELF),
    )


def test_a_rule_without_matches_is_for_every_request() -> None:
    assert _routes("default: {}") == (Route(EVERYTHING, ITSELF),)


def test_a_document_says_nothing_of_other_services() -> None:
    document = documents.read(KIND, _spec("default: {}"))

    assert routes(document, "db") == ()


def test_a_route_tells_where_it_comes_from() -> None:
    document = documents.read(
        KIND,
        _spec("""
            default:
              filters: [{type: CORS, cors: {allowOrigins: ["*"]}}]
              backendRefs: [{kind: MeshService, name: api}]
            """),
        name="pages",
    )
    (route,) = routes(document, "api")

    assert route.name == "pages"
    assert route.origins == dict.fromkeys(("route", "action", "cors"), "MeshHTTPRoute pages")


def test_backends_share_by_weight() -> None:
    (route,) = _routes("""
        default:
          backendRefs:
            - {kind: MeshService, name: api, weight: 2}
            - {kind: MeshService, name: api, subset: v2}
            - {kind: MeshExternalService, name: saas, weight: 0}
        """)

    assert route.action == Forward(
        (
            Share(Target("api"), 6667),
            Share(Target("api", "v2"), 3333),
            Share(Target("saas"), 0),
        )
    )


@pytest.mark.parametrize("refs", ["[]", "[{kind: MeshService, name: api, weight: 0}]"])
def test_without_anybody_to_ask_nobody_is(refs: str) -> None:
    (route,) = _routes(f"default: {{backendRefs: {refs}}}")

    assert route.action == Forward(())


def test_header_modifiers() -> None:
    route = _filtered(
        "{type: RequestHeaderModifier, requestHeaderModifier: {set: [{name: a, value: 10%}]}}",
        "{type: ResponseHeaderModifier, responseHeaderModifier: {remove: [server]}}",
    )

    assert route.request_headers == HeaderEdits(set=(("a", "10%%"),))
    assert route.response_headers == HeaderEdits(remove=("server",))


def test_mirrors_may_be_several() -> None:
    route = _filtered(
        "{type: RequestMirror, requestMirror: {backendRef: {kind: MeshService, name: a}}}",
        "{type: RequestMirror, requestMirror: {percentage: 2.5, "
        "backendRef: {kind: MeshService, name: b, subset: v2}}}",
    )

    assert route.mirrors == (Mirror(Target("a")), Mirror(Target("b", "v2"), 2.5))
    assert route.action == ITSELF


def test_redirect() -> None:
    route = _filtered("""
        type: RequestRedirect
        requestRedirect:
          scheme: https
          hostname: shop.example
          port: 8443
          path: {type: ReplaceFullPath, replaceFullPath: /new}
          statusCode: 308
        """)

    rewrite = PathRewrite(RewriteKind.FULL, "/new")
    assert route.action == Redirect(308, "https", "shop.example", 8443, rewrite)


def test_rewrite_of_host_and_prefix() -> None:
    (route,) = _routes("""
        matches: [{path: {type: PathPrefix, value: /shop}}]
        default:
          filters:
            - type: URLRewrite
              urlRewrite:
                hostname: internal.example
                path: {type: ReplacePrefixMatch, replacePrefixMatch: /v2/}
        """)

    assert route.action == Forward(
        ITSELF.shares, PathRewrite(RewriteKind.PREFIX, "/v2"), "internal.example"
    )


def test_cors() -> None:
    route = _filtered("""
        type: CORS
        cors:
          allowOrigins: ["https://shop.example", "https://*.shop.example"]
          allowMethods: [PUT]
          allowHeaders: [x-token]
          exposeHeaders: [x-count]
          allowCredentials: true
          maxAge: 10m
        """)

    assert route.cors == Cors(
        origins=("https://shop.example",),
        origin_regexes=(r"https://[^/]*\.shop\.example",),
        methods=("PUT",),
        headers=("x-token",),
        expose=("x-count",),
        credentials=True,
        max_age=600.0,
    )


def test_any_origin() -> None:
    route = _filtered("{type: CORS, cors: {allowOrigins: ['*']}}")

    assert route.cors == Cors(origin_regexes=(".*",))


def test_direct_response() -> None:
    route = _filtered("{type: DirectResponse, directResponse: {status: 503, body: closed}}")

    assert route.action == Respond(503, "closed")


def test_envoy_takes_every_filter(tmp_path: Path) -> None:
    found = _routes(
        """
        matches:
          - {path: {type: PathPrefix, value: "/a[b]/"}, method: PUT}
          - {path: {type: PathPrefix, value: /c}, headers: [{name: x, type: Absent}]}
        default:
          filters:
            - {type: URLRewrite, urlRewrite: {hostname: internal.example,
               path: {type: ReplacePrefixMatch, replacePrefixMatch: /}}}
            - {type: RequestHeaderModifier, requestHeaderModifier: {add: [{name: a, value: 1%}]}}
            - {type: ResponseHeaderModifier, responseHeaderModifier: {remove: [server]}}
            - {type: RequestMirror, requestMirror: {percentage: 0.5,
               backendRef: {kind: MeshService, name: copy}}}
            - {type: CORS, cors: {allowOrigins: ["*", "https://*.shop.example:*"],
               allowMethods: ["*"], allowHeaders: [x-token], maxAge: 1h}}
          backendRefs:
            - {kind: MeshService, name: api}
            - {kind: MeshService, name: api, subset: v2, weight: 0}
        """,
        """
        matches: [{path: {type: PathPrefix, value: /old}}]
        default:
          filters:
            - {type: RequestRedirect, requestRedirect: {scheme: https, hostname: shop.example,
               port: 8443, path: {type: ReplacePrefixMatch, replacePrefixMatch: /},
               statusCode: 308}}
        """,
        """
        matches: [{path: {type: RegularExpression, value: "/v[0-9]+/.*"},
                   queryParams: [{name: q, type: RegularExpression, value: "[a-z]+"}]}]
        default: {filters: [{type: DirectResponse, directResponse: {status: 503, body: "a\nb"}}]}
        """,
        "default: {backendRefs: []}",
    )

    validated(in_precedence(found), (), tmp_path)


def test_everything_wrong_with_the_fields_is_told_at_once() -> None:
    spec = """
        targetRef: {kind: Dataplane}
        to:
          - targetRef: {kind: Mesh}
            rules: []
          - targetRef: {kind: MeshService, name: api}
            rules:
              - matches:
                  - path: {type: PathPrefix, value: shop}
                  - path: {type: RegularExpression, value: "(?=a)"}
                  - path: {type: Exact, value: "/a?b"}
                  - method: FETCH
                default:
                  filters:
                    - {type: Nonsense}
                    - {requestMirror: {}}
                    - {type: RequestMirror, requestMirror: {percentage: 101}}
                    - {type: RequestRedirect, requestRedirect: {statusCode: 200, port: 0}}
                    - {type: RequestRedirect, requestRedirect: {}}
                    - type: URLRewrite
                      urlRewrite: {path: {type: ReplaceFullPath, replaceFullPath: x}, extra: 1}
                    - type: RequestHeaderModifier
                      requestHeaderModifier: {set: [{name: host, value: a}], remove: ["a b"]}
                    - {type: CORS, cors: {allowOrigins: [shop.example]}}
                    - {type: CORS, cors: {allowOrigins: ["*"], allowCredentials: true}}
                    - {type: DirectResponse, directResponse: {status: 100}}
                  backendRefs:
                    - {kind: MeshExternalService, name: saas, subset: v2}
                    - {kind: MeshService, name: "a.b", weight: -1}
        """
    rule = "spec.to[1].rules[0]"
    filters = f"{rule}.default.filters"

    found = reading.violations(KIND, spec)

    assert set(found) == {
        "spec.targetRef",
        "spec.to[0].targetRef.kind",
        "spec.to[0].rules",
        f"{rule}.matches[0].path",
        f"{rule}.matches[1].path",
        f"{rule}.matches[2].path",
        f"{rule}.matches[3].method",
        f"{filters}[0]",
        f"{filters}[1]",
        f"{filters}[2].requestMirror.percentage",
        f"{filters}[2].requestMirror.backendRef",
        f"{filters}[3].requestRedirect.statusCode",
        f"{filters}[3].requestRedirect.port",
        f"{filters}[4].requestRedirect",
        f"{filters}[5].urlRewrite.path.replaceFullPath",
        f"{filters}[5].urlRewrite.extra",
        f"{filters}[6].requestHeaderModifier.set[0].name",
        f"{filters}[6].requestHeaderModifier.remove[0]",
        f"{filters}[7].cors",
        f"{filters}[8].cors",
        f"{filters}[9].directResponse.status",
        f"{rule}.default.backendRefs[0]",
        f"{rule}.default.backendRefs[1].name",
        f"{rule}.default.backendRefs[1].weight",
    }
    assert found[f"{filters}[1]"] == "needs a type"
    assert found[f"{filters}[0]"].startswith("type is not one of 'RequestHeaderModifier'")


def test_everything_that_does_not_go_together_is_told_at_once() -> None:
    found = _refused(
        """
        matches: [{path: {type: Exact, value: /a}}, {method: GET}]
        default:
          filters:
            - {type: DirectResponse, directResponse: {status: 200}}
            - type: RequestRedirect
              requestRedirect:
                hostname: shop.example
                path: {type: ReplacePrefixMatch, replacePrefixMatch: /x}
            - {type: RequestMirror, requestMirror: {backendRef: {kind: MeshService, name: b}}}
          backendRefs: [{kind: MeshService, name: b}]
        """,
        """
        matches: [{path: {type: PathPrefix, value: /b}}, {path: {type: PathPrefix, value: /b/}}]
        default:
          filters:
            - {type: CORS, cors: {allowOrigins: ["*"]}}
            - {type: CORS, cors: {allowOrigins: ["*"]}}
        """,
        "{matches: [{path: {type: PathPrefix, value: /}}], default: {}}",
        "default: {}",
    )

    assert found == {
        "rules[0].default.filters": "only one of DirectResponse and RequestRedirect can answer",
        "rules[0].default.backendRefs": "DirectResponse answers: nobody is asked",
        "rules[0].default.filters[1]": "ReplacePrefixMatch needs a path of type PathPrefix in "
        "every match",
        "rules[0].default.filters[2]": "DirectResponse answers: nobody is asked",
        "rules[1].default.filters": "CORS is given 2 times",
        "rules[1].matches[1]": "the same requests as to[0].rules[1].matches[0]: only one of the "
        "two can hold",
        "rules[3]": "the same requests as to[0].rules[2].matches[0]: only one of the two can hold",
    }


def test_the_same_conditions_in_another_order_are_the_same_match() -> None:
    a, b = "{name: a, value: x}", "{name: B, type: Present}"

    found = _refused(
        f"{{matches: [{{headers: [{a}, {b}]}}], default: {{}}}}",
        f"{{matches: [{{headers: [{b}, {a}, {a}]}}], default: {{}}}}",
    )

    assert list(found) == ["rules[1].matches[0]"]


def test_the_same_match_in_two_parts_about_one_service_is_refused() -> None:
    part = {"targetRef": documents.API, "rules": [{"default": {}}]}

    found = documents.refused(KIND, {"to": [part, part]})

    assert list(found) == ["spec.to[1].rules[0]"]
    assert "to[0].rules[0]" in found["spec.to[1].rules[0]"]


def test_the_same_match_for_two_services_is_fine() -> None:
    rules: list[dict[str, Any]] = [{"default": {}}]
    to = [
        {"targetRef": {"kind": "MeshService", "name": name}, "rules": rules} for name in ("a", "b")
    ]

    document = documents.read(KIND, {"to": to})

    assert len(routes(document, "a")) == len(routes(document, "b")) == 1


def test_a_document_of_another_kind_is_a_mistake_of_the_caller() -> None:
    other = documents.about_api(retry.KIND, {"http": {"numRetries": 1}})

    with pytest.raises(TypeError, match="MeshRetry one is no MeshHTTPRoute"):
        routes(other, "api")
