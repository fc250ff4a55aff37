"""From a config dump to resources that refer to nothing; a hole is refused."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from mesh.agent import lastgood
from mesh.agent.lastgood import IncompleteDumpError
from tests.agent import discovery

ADS = {"ads": {}, "resource_api_version": "V3"}
PREFIX = "type.googleapis.com/envoy.admin.v3."


def dump() -> dict[str, Any]:
    """Return what Envoy says of one TCP and one HTTP listener that came by ADS."""
    tcp, http = discovery.tcp_listener(15006), discovery.http_listener(9001)
    discovered = tcp["filter_chains"][0]["filters"][0]["config_discovery"]
    discovered["config_source"] = ADS
    http["filter_chains"][0]["filters"][0]["typed_config"]["rds"]["config_source"] = ADS
    cluster = {
        **discovery.eds_cluster("local_app"),
        "eds_cluster_config": {"eds_config": ADS, "service_name": "app"},
    }
    return {
        "configs": [
            section("ClustersConfigDump", "dynamic_active_clusters", {"cluster": cluster}),
            section(
                "EndpointsConfigDump",
                "dynamic_endpoint_configs",
                {"endpoint_config": discovery.assignment("app", 8080)},
            ),
            section(
                "ListenersConfigDump",
                "dynamic_listeners",
                {"name": "outbound", "active_state": {"listener": http}},
                {"name": "inbound", "active_state": {"listener": tcp}},
                {"name": "warming", "warming_state": {"listener": tcp}},
            ),
            section(
                "RoutesConfigDump",
                "dynamic_route_configs",
                {"route_config": discovery.route("local_app")},
            ),
            section("EcdsConfigDump", "ecds_filters", {"ecds_filter": discovery.allow_all()}),
        ]
    }


def section(kind: str, part: str, *content: dict[str, Any]) -> dict[str, Any]:
    return {"@type": PREFIX + kind, part: list(content)}


def without(kind: str) -> dict[str, Any]:
    content = dump()
    content["configs"] = [e for e in content["configs"] if not e["@type"].endswith(kind)]
    return content


def test_the_parts_are_put_into_one_another() -> None:
    found = lastgood.resources(dump())
    assert [each["name"] for each in found.listeners] == ["inbound", "outbound"]
    (cluster,) = found.clusters
    assert cluster["type"] == "STATIC"
    assert cluster["load_assignment"]["endpoints"]
    authorization = found.listeners[0]["filter_chains"][0]["filters"][0]
    assert authorization == discovery.allow_all()
    manager = found.listeners[1]["filter_chains"][0]["filters"][0]["typed_config"]
    assert manager["route_config"] == discovery.route("local_app")


def test_the_dump_is_left_as_it_was() -> None:
    content = dump()
    before = copy.deepcopy(content)
    lastgood.resources(content)
    assert content == before


@pytest.mark.parametrize(
    ("kind", "missing"),
    [
        ("EndpointsConfigDump", "endpoints app"),
        ("RoutesConfigDump", "route configuration outbound"),
        ("EcdsConfigDump", "filter authorization"),
    ],
)
def test_a_hole_is_refused(kind: str, missing: str) -> None:
    with pytest.raises(IncompleteDumpError, match=missing):
        lastgood.resources(without(kind))


def test_a_redacted_value_or_another_servers_configuration_is_refused() -> None:
    for damage in ({"password": "[redacted]"}, {"config_source": ADS}):
        content = dump()
        content["configs"][0]["dynamic_active_clusters"][0]["cluster"]["extra"] = [damage]
        with pytest.raises(IncompleteDumpError, match="local_app"):
            lastgood.resources(content)


def test_an_empty_dump_has_nothing() -> None:
    assert lastgood.resources({}) == lastgood.Resources((), ())
