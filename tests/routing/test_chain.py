"""What entries say together: one protocol, and everything that is wrong at once."""

from __future__ import annotations

from typing import Any

import pytest

from mesh.model.entries import (
    FailoverTarget,
    Resolver,
    ResolverRedirect,
    RouteDestination,
    Router,
    RouterRoute,
    ServiceDefaults,
    Split,
    Splitter,
)
from mesh.model.requests import EVERYTHING
from mesh.model.services import Protocol
from mesh.routing.chain import (
    ChainError,
    compile_chain,
)
from tests.routing.chain_parts import blamed, entries_of


def test_routers_and_splitters_need_requests() -> None:
    entries = entries_of(
        Router("api"), Splitter("api", (Split(100, "cart"),)), protocol=Protocol.TCP
    )
    assert [line.split(":")[0] for line in blamed(entries, "api")] == [
        "service-router api api speaks tcp, which has no requests to route or split",
        "service-splitter api api speaks tcp, which has no requests to route or split",
    ]


@pytest.mark.parametrize(
    ("entry", "place"),
    [
        (
            Router("api", (RouterRoute(EVERYTHING, RouteDestination("db")),)),
            "service-router api Routes[0].Destination",
        ),
        (Splitter("api", (Split(60), Split(40, "db"))), "service-splitter api Splits[1]"),
        (Resolver("api", redirect=ResolverRedirect("db")), "service-resolver api Redirect"),
        (
            Resolver("api", failover={"*": (FailoverTarget("db"),)}),
            'service-resolver api Failover["*"]',
        ),
    ],
)
def test_one_chain_has_one_protocol(entry: Any, place: str) -> None:
    entries = entries_of(entry, ServiceDefaults("db", Protocol.GRPC))
    (told,) = blamed(entries, "api")
    assert told.startswith(f"{place}: db speaks grpc and api http: ")


def test_everything_wrong_is_told_at_once() -> None:
    entries = entries_of(
        Router(
            "api",
            (
                RouterRoute(EVERYTHING, RouteDestination("shop", "v9")),
                RouterRoute(EVERYTHING, RouteDestination("db")),
            ),
        ),
        Splitter("api", (Split(10),)),
        ServiceDefaults("db", Protocol.TCP),
    )
    with pytest.raises(ChainError) as refused:
        compile_chain(entries, "api")
    assert [each.entry for each in refused.value.faults] == [
        "service-router api",
        "service-router api",
        "service-splitter api",
    ]
    assert _paths(refused.value) == [
        "Routes[0].Destination.ServiceSubset",
        "Routes[1].Destination",
        "Splits",
    ]
    assert refused.value.names == {"api", "shop", "db"}


def _paths(error: ChainError) -> list[str]:
    return [violation.path for violation in error.violations]
