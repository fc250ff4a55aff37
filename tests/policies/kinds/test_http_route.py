"""MeshHTTPRoute: what rules become, and what is refused."""

from __future__ import annotations

from typing import Any

import pytest

from mesh.model.destinations import Target
from mesh.model.intentions import HeaderMatch, HeaderMatchKind
from mesh.model.requests import (
    EVERYTHING,
    Match,
    PathKind,
    PathMatch,
    QueryKind,
    QueryMatch,
)
from mesh.model.traffic import (
    Forward,
    Route,
    Share,
)
from mesh.policies.kinds import retry
from mesh.policies.kinds.http_route import KIND, routes
from tests.policies.kinds import documents, reading
from tests.policies.kinds.http_rules import ITSELF, refused, routes_of, spec


def test_each_match_becomes_a_route() -> None:
    found = routes_of("""
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
    assert routes_of("default: {}") == (Route(EVERYTHING, ITSELF),)


def test_a_document_says_nothing_of_other_services() -> None:
    document = documents.read(KIND, spec("default: {}"))

    assert routes(document, "db") == ()


def test_a_route_tells_where_it_comes_from() -> None:
    document = documents.read(
        KIND,
        spec("""
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
    (route,) = routes_of("""
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
    (route,) = routes_of(f"default: {{backendRefs: {refs}}}")

    assert route.action == Forward(())


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
    found = refused(
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

    found = refused(
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
