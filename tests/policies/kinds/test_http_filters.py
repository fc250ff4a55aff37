"""MeshHTTPRoute: what its filters do to requests and answers."""

from __future__ import annotations

from pathlib import Path

from mesh.model.destinations import Target
from mesh.model.requests import (
    HeaderEdits,
)
from mesh.model.traffic import (
    Cors,
    Forward,
    Mirror,
    PathRewrite,
    Redirect,
    Respond,
    RewriteKind,
)
from mesh.policies.kinds.http_route import in_precedence
from tests.policies.kinds.http_rules import ITSELF, filtered, routes_of
from tests.policies.kinds.on_envoy import validated


def test_header_modifiers() -> None:
    route = filtered(
        "{type: RequestHeaderModifier, requestHeaderModifier: {set: [{name: a, value: 10%}]}}",
        "{type: ResponseHeaderModifier, responseHeaderModifier: {remove: [server]}}",
    )

    assert route.request_headers == HeaderEdits(set=(("a", "10%%"),))
    assert route.response_headers == HeaderEdits(remove=("server",))


def test_mirrors_may_be_several() -> None:
    route = filtered(
        "{type: RequestMirror, requestMirror: {backendRef: {kind: MeshService, name: a}}}",
        "{type: RequestMirror, requestMirror: {percentage: 2.5, "
        "backendRef: {kind: MeshService, name: b, subset: v2}}}",
    )

    assert route.mirrors == (Mirror(Target("a")), Mirror(Target("b", "v2"), 2.5))
    assert route.action == ITSELF


def test_redirect() -> None:
    route = filtered("""
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
    (route,) = routes_of("""
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
    route = filtered("""
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
    route = filtered("{type: CORS, cors: {allowOrigins: ['*']}}")

    assert route.cors == Cors(origin_regexes=(".*",))


def test_direct_response() -> None:
    route = filtered("{type: DirectResponse, directResponse: {status: 503, body: closed}}")

    assert route.action == Respond(503, "closed")


def test_envoy_takes_every_filter(tmp_path: Path) -> None:
    found = routes_of(
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
