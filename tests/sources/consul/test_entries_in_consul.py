"""A real Consul takes what these readers take, hands it out as they read it, and refuses it too.

Of each refused entry the mesh names at least one violation; of each stored one, none.
"""

from typing import Any

import pytest

from mesh.clients.consul import ConsulClient, Refused
from mesh.model.violations import InvalidInputError
from mesh.sources.consul.entries import (
    parse_proxy_defaults,
    parse_resolver,
    parse_router,
    parse_service_defaults,
    parse_splitter,
)

READERS = {
    "proxy-defaults": parse_proxy_defaults,
    "service-defaults": parse_service_defaults,
    "service-router": parse_router,
    "service-splitter": parse_splitter,
    "service-resolver": parse_resolver,
}


def entry(kind: str, **fields: Any) -> dict[str, Any]:
    return {"Kind": f"service-{kind}", "Name": "shop", **fields}


def route(match: dict[str, Any] | None = None, **destination: Any) -> dict[str, Any]:
    found = {"Match": {"HTTP": match}} if match is not None else {}
    return entry("router", Routes=[{**found, "Destination": destination}])


def splits(*weights: float, **fields: Any) -> dict[str, Any]:
    return entry("splitter", Splits=[{"Weight": each, **fields} for each in weights])


STORED = [
    {"Kind": "proxy-defaults", "Name": "global", "Config": {"protocol": "http"}},
    entry("defaults", Protocol="http", MeshGateway={"Mode": "local"}),
    {**entry("resolver", Subsets={"v3": {}}), "Name": "spare"},
    entry("resolver", Redirect={"Service": "spare", "ServiceSubset": "v3", "Datacenter": "dc2"}),
    entry(
        "resolver",
        DefaultSubset="v1",
        Subsets={
            "v1": {"Filter": "Service.Meta.version == v1", "OnlyPassing": True},
            "v2": {"Filter": "v2 in Service.Tags or Service.Meta is empty"},
        },
        Failover={
            "*": {"Datacenters": ["dc2"]},
            "v2": {"Service": "spare", "ServiceSubset": "v3"},
        },
        ConnectTimeout="1m30s",
    ),
    splits(100),
    entry("splitter", Splits=[{"Weight": 66.67, "ServiceSubset": "v1"}, {"Weight": 33.33}]),
    route(
        {
            "PathPrefix": "/a",
            "Header": [
                {"Name": "x", "Regex": "^a+$", "Invert": True},
                {"Name": "y", "Present": True},
            ],
            "QueryParam": [{"Name": "q", "Exact": "1"}],
            "Methods": ["get", "PUT"],
        },
        Service="spare",
        PrefixRewrite="/",
        RequestTimeout="2.5s",
        NumRetries=2,
        RetryOnConnectFailure=True,
        RetryOnStatusCodes=[503],
    ),
]
REFUSED = [
    entry("splitter", Splits=[]),
    splits(99.98),
    splits(50, 50),
    splits(60, 30),
    route({"PathExact": "/a", "PathPrefix": "/b"}),
    route({"PathPrefix": "a"}),
    route({"Header": [{"Exact": "1"}]}),
    route({"Header": [{"Name": "x"}]}),
    route({"Header": [{"Name": "x", "Exact": "1", "Prefix": "2"}]}),
    route({"QueryParam": [{"Name": "x", "Exact": "1", "Regex": "2"}]}),
    route({"QueryParam": [{"Present": True}]}),
    route({"Methods": ["GET", "get"]}),
    route({"PathRegex": "/a"}, PrefixRewrite="/"),
    route(None, PrefixRewrite="/"),
    entry("resolver", DefaultSubset="v1"),
    entry("resolver", Subsets={"V 1": {}}),
    entry("resolver", Redirect={}),
    entry("resolver", Redirect={"ServiceSubset": "v1"}),
    entry("resolver", Redirect={"Service": "shop", "ServiceSubset": "v1"}),
    entry("resolver", Redirect={"Service": "a"}, Failover={"*": {"Service": "b"}}),
    entry("resolver", Failover={"*": {}}),
    entry("resolver", Failover={"v1": {"Service": "b"}}),
    entry("resolver", Failover={"*": {"ServiceSubset": "v1"}}),
    entry("resolver", ConnectTimeout="-5s"),
    entry("defaults", Protocols="http"),
]


async def test_what_consul_stores_is_read_without_a_violation(registrar: ConsulClient) -> None:
    try:
        for stored in STORED:
            await registrar.config_put(stored)
            found = (await registrar.config_get(stored["Kind"], stored["Name"])).value
            assert found is not None
            reader = READERS[stored["Kind"]]
            assert reader(found) == reader(stored)
    finally:
        for stored in reversed(STORED):
            await registrar.config_delete(stored["Kind"], stored["Name"])


@pytest.mark.parametrize("refused", REFUSED, ids=str)
async def test_what_consul_refuses_is_a_violation(
    registrar: ConsulClient, refused: dict[str, Any]
) -> None:
    kind = "service-defaults"
    await registrar.config_put({"Kind": kind, "Name": "shop", "Protocol": "http"})
    try:
        with pytest.raises(Refused):
            await registrar.config_put(refused)
        with pytest.raises(InvalidInputError):
            READERS[refused["Kind"]](refused)
    finally:
        await registrar.config_delete(kind, "shop")
