"""MeshGateway: what is wrong with one beyond its types."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from mesh.model.violations import InvalidInputError
from mesh.policies.document import Document, parse
from mesh.policies.kinds import gateway
from mesh.policies.registry import KINDS

KV = "{vaultKv: {path: a}}"
X = "{hostnames: [X.io], vaultKv: {path: b}}"
X_AND_Y = "{hostnames: [x.io, y.io], vaultKv: {path: a}}"


def document(listeners: str) -> Document:
    said: Any = yaml.safe_load(listeners)
    return parse({"type": "MeshGateway", "name": "g", "spec": {"listeners": said}}, KINDS)


@pytest.mark.parametrize(
    ("listeners", "expected"),
    [
        ("[{port: 1, protocol: HTTPS}]", "listeners[0].tls: is required with HTTPS"),
        (
            "[{port: 1, protocol: HTTP}, {port: 1, protocol: TCP}]",
            "listeners[1].port: listeners[0] has port 1 too",
        ),
        (
            "[{port: 1, protocol: TCP, routes: [{service: a}, {service: b, hostnames: [x.io]}]}]",
            "listeners[0].routes: TCP takes one route",
        ),
        ("[{port: 1, protocol: TLS, routes: [{service: a, path: /x}]}]", "routes[0].path: of TLS"),
        (
            "[{port: 1, protocol: HTTP, redirectToPort: 443, routes: [{service: a}]}]",
            "listeners[0].routes: every request is redirected",
        ),
        (
            "[{port: 1, protocol: HTTP, routes: [{service: a}, {service: b}]}]",
            "routes[1]: any host is another route's too",
        ),
        (
            "[{port: 1, protocol: HTTP, routes: [{service: a, hostnames: ['x.*']}]}]",
            "'x.*' is no host",
        ),
        ("[{port: 1, protocol: HTTP, routes: [{service: a, path: /x/../y}]}]", "normalised"),
        (
            "[{port: 1, protocol: HTTPS, tls: {certificates: [{vaultPki: {role: r}}]}}]",
            "vaultPki needs hostnames",
        ),
        (
            "[{port: 1, protocol: HTTPS, tls: {certificates: [{hostnames: [x.io]}]}}]",
            "give exactly one of vaultKv and vaultPki",
        ),
        (
            "[{port: 1, protocol: HTTPS, tls: {certificates: [{vaultKv: {path: ../x}}]}}]",
            "is no path in Vault",
        ),
        (
            f"[{{port: 1, protocol: HTTPS, tls: {{certificates: [{KV}, {KV}]}}}}]",
            "several have no hostnames",
        ),
        *(
            (
                f"[{{port: 1, protocol: {protocol}, tls: {{certificates: [{KV}]}}}}]",
                f"listeners[0].tls: {protocol} ends no TLS: use HTTPS",
            )
            for protocol in ("HTTP", "TCP", "TLS")
        ),
        *(
            (
                f"[{{port: 1, protocol: {protocol}, redirectToPort: 443}}]",
                "listeners[0].redirectToPort: only HTTP is redirected to https",
            )
            for protocol in ("HTTPS", "TCP", "TLS")
        ),
        *(
            (
                f"[{{port: 1, protocol: {protocol}, {field}: {value}}}]",
                f"listeners[0].{field}: of {protocol} no request is seen",
            )
            for protocol in ("TCP", "TLS")
            # What is said is refused, be it what holds anyway.
            for field, value in (("trustedProxies", 0), ("escapedSlashes", "Keep"))
        ),
        (
            f"[{{port: 1, protocol: HTTPS, tls: {{certificates: [{X_AND_Y}, {X}]}}}}]",
            "listeners[0].tls.certificates: x.io has several certificates",
        ),
        (
            "[{port: 1, protocol: HTTP, routes: [{service: a, path: x}]}]",
            "'x' must start with '/'",
        ),
        *(
            (
                f"[{{port: 1, protocol: HTTP, routes: [{{service: a, path: '{path}'}}]}}]",
                f"'{path}' has a query or fragment, a path has none",
            )
            for path in ("/x?q=1", "/x#y")
        ),
    ],
)
def test_what_is_wrong(listeners: str, expected: str) -> None:
    with pytest.raises(InvalidInputError) as caught:
        document(listeners)
    assert expected in str(caught.value)


def test_a_hostname_that_one_certificate_has_twice_is_not_of_several() -> None:
    twice = "[{hostnames: [x.io, x.io], vaultKv: {path: a}}]"
    (found,) = gateway.listeners(
        document(f"[{{port: 1, protocol: HTTPS, tls: {{certificates: {twice}}}}}]")
    )
    assert found.tls is not None
    assert [each.hosts for each in found.tls.certificates] == [("x.io",)]


def test_the_example_names_where_certificates_are_and_never_what() -> None:
    found = gateway.listeners(parse(yaml.safe_load(gateway.KIND.example), KINDS))
    secure = next(one for one in found if one.tls is not None)
    assert secure.tls is not None
    assert [each.source.name for each in secure.tls.certificates] == [
        "vault://secret/shop/tls?keep=kv",
        "vault://pki/edge?keep=pki&name=%2A.api.example.com&ttl=86400",
    ]
