"""From a config dump to resources that refer to nothing; a hole is refused."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from mesh.agent import lastgood
from mesh.agent.lastgood import IncompleteDumpError
from tests.agent import discovery

ADS = {"ads": {}, "resource_api_version": "V3"}
MATCHERS = {"match_typed_subject_alt_names": [{"san_type": "URI", "matcher": {"exact": "a"}}]}
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


def peers(context: dict[str, Any]) -> dict[str, Any]:
    """Return a dump whose inbound listener takes ``context`` from the zone, beside files."""
    content = dump()
    tcp = content["configs"][2]["dynamic_listeners"][1]["active_state"]["listener"]
    common = {
        "tls_certificate_sds_secret_configs": [
            {"name": "identity", "sds_config": discovery.source("identity")}
        ],
        "validation_context_sds_secret_config": {"name": "inbound-peers", "sds_config": ADS},
    }
    tcp["filter_chains"][0]["transport_socket"] = {"typed_config": {"common_tls_context": common}}
    certificate = {"tls_certificate": {"private_key": {"inline_string": "[redacted]"}}}
    secrets = [
        {"name": "identity", "secret": {"name": "identity", **certificate}},
        {"name": "inbound-peers", "secret": {"validation_context": context}},
    ]
    content["configs"].append(section("SecretsConfigDump", "dynamic_active_secrets", *secrets))
    return content


def trusted(content: dict[str, Any]) -> dict[str, Any]:
    """Return what the inbound listener demands of its peers."""
    listener = lastgood.resources(content).listeners[0]
    socket: dict[str, Any] = listener["filter_chains"][0]["transport_socket"]["typed_config"]
    common = dict(socket["common_tls_context"])
    (identity,) = common.pop("tls_certificate_sds_secret_configs")
    assert identity["sds_config"] == discovery.source("identity")
    return common


def test_matchers_of_the_zone_stand_on_the_bundles_file() -> None:
    # Envoy dumps a root that it read from a file as the bytes that it read.
    watched = {"trusted_ca": {"inline_bytes": "AAAA"}, "watched_directory": {"path": "."}}
    found = trusted(peers({**watched, **MATCHERS}))
    assert found == {
        "combined_validation_context": {
            "default_validation_context": MATCHERS,
            "validation_context_sds_secret_config": {
                "name": "bundle",
                "sds_config": discovery.source("bundle"),
            },
        }
    }


def test_a_context_with_roots_of_its_own_is_kept_whole() -> None:
    context = {"trusted_ca": {"inline_bytes": "AAAA"}, **MATCHERS}
    assert trusted(peers(context)) == {"validation_context": context}


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
        ("SecretsConfigDump", "validation context inbound-peers"),
    ],
)
def test_a_hole_is_refused(kind: str, missing: str) -> None:
    content = peers(MATCHERS)
    content["configs"] = [e for e in content["configs"] if not e["@type"].endswith(kind)]
    with pytest.raises(IncompleteDumpError, match=missing):
        lastgood.resources(content)


def test_a_redacted_value_or_another_servers_configuration_is_refused() -> None:
    for damage in ({"password": "[redacted]"}, {"config_source": ADS}):
        content = dump()
        content["configs"][0]["dynamic_active_clusters"][0]["cluster"]["extra"] = [damage]
        with pytest.raises(IncompleteDumpError, match="local_app"):
            lastgood.resources(content)


def test_an_empty_dump_has_nothing() -> None:
    assert lastgood.resources({}) == lastgood.Resources((), ())
