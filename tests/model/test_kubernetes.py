"""Which service a pod may be."""

from __future__ import annotations

import pytest

from mesh.model.kubernetes import SERVICE, SERVICES, Account, audience, instance_id, service_of


def account(namespace: str = "", own: str | None = None, name: str = "api") -> Account:
    return Account(
        "shop",
        name,
        {SERVICES: namespace} if namespace else {},
        {} if own is None else {SERVICES: own},
    )


@pytest.mark.parametrize(
    ("allowed", "service"),
    [
        (account("api"), "api"),
        (account("web, api"), "api"),
        (account("*"), "api"),
        (account("shop-*", "shop-*"), "shop-cart"),
        (account("api,cart", "cart, other"), "cart"),
    ],
)
def test_a_pod_is_what_namespace_and_account_both_allow(allowed: Account, service: str) -> None:
    assert allowed.refusal(service) == ""


@pytest.mark.parametrize(
    ("refused", "service", "command"),
    [
        (account(), "api", "namespace shop mesh.internal/services=api"),
        (account("web"), "api", "namespace shop mesh.internal/services=web,api"),
        (account("shop-*"), "api", "namespace shop mesh.internal/services=shop-*,api"),
        (account("*", name="web"), "api", "serviceaccount web mesh.internal/services=api"),
        (account("*", "web"), "api", "serviceaccount api mesh.internal/services=web,api"),
        (account("*", ""), "api", "serviceaccount api mesh.internal/services=api"),
        (account("ap"), "api", "namespace shop mesh.internal/services=ap,api"),
    ],
)
def test_who_may_not_is_told_the_command_that_allows_it(
    refused: Account, service: str, command: str
) -> None:
    assert command in refused.refusal(service)


def test_a_pod_is_named_by_its_annotation_or_its_account() -> None:
    assert service_of({}, "api") == "api"
    assert service_of({SERVICE: "cart"}, "default") == "cart"
    with pytest.raises(ValueError, match="names no service"):
        service_of({}, "default")
    with pytest.raises(ValueError, match="no good"):
        service_of({SERVICE: "no good"}, "api")


def test_ids_and_audiences_tell_clusters_and_meshes_apart() -> None:
    assert instance_id("east", "shop", "api-0") == "east.shop.api-0"
    assert audience("corp.example") == "spiffe://corp.example"
