"""The bootstraps are what Envoy takes, and say what they must."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from mesh.agent.envoy_process import find_envoy
from mesh.agent.identity import bundle_secret, identity_secret
from mesh.envoy import bootstrap, files
from mesh.model import need_metadata
from mesh.model.identity import ZoneId
from mesh.model.proxies import METADATA_KEY, Inbound, ProxyNeed, Upstream
from tests.agent.pki import Authority

NEED = ProxyNeed(
    "web", "dc1", Inbound("10.0.0.9", 15006, "127.0.0.1", 8080), (Upstream("api", 9001),)
)
PROXY = bootstrap.Proxy(
    id="web-1",
    zone=ZoneId("mesh.example", "dc1"),
    need=NEED,
    xds=(("10.0.0.1", 5679), ("zone-2.example", 5679)),
    admin_socket="envoy.sock",
)


@pytest.fixture
def state(tmp_path: Path) -> Path:
    authority = Authority("mesh.example")
    chain, key = authority.leaf(uri="spiffe://mesh.example/ns/default/dc/dc1/svc/web")
    (tmp_path / files.IDENTITY_SDS).write_bytes(identity_secret(chain, key))
    (tmp_path / files.BUNDLE_SDS).write_bytes(bundle_secret(authority.root))
    return tmp_path


def validate(state: Path, content: dict[str, Any]) -> subprocess.CompletedProcess[str]:
    (state / "bootstrap.json").write_text(json.dumps(content))
    command = [str(find_envoy(None)), "--mode", "validate", "-c", "bootstrap.json"]
    return subprocess.run(command, cwd=state, capture_output=True, text=True, check=False)


def test_envoy_accepts_the_live_bootstrap(state: Path) -> None:
    checked = validate(state, bootstrap.live(PROXY))
    assert checked.returncode == 0, checked.stderr


def test_envoy_accepts_the_static_bootstrap(state: Path) -> None:
    checked = validate(state, bootstrap.static(PROXY, [], []))
    assert checked.returncode == 0, checked.stderr


def test_nothing_in_it_is_deprecated_or_unlimited(state: Path) -> None:
    checked = validate(state, bootstrap.live(PROXY))
    assert "[warning]" not in checked.stderr, checked.stderr


def test_the_node_says_who_it_is_and_what_it_needs() -> None:
    node = bootstrap.live(PROXY)["node"]
    assert (node["id"], node["cluster"]) == ("web/web-1", "web")
    assert node["locality"] == {"zone": "dc1"}
    assert need_metadata.parse(node["metadata"][METADATA_KEY]) == NEED


def test_the_zone_must_prove_its_own_name_over_tls_1_3() -> None:
    (cluster,) = bootstrap.live(PROXY)["static_resources"]["clusters"]
    tls = cluster["transport_socket"]["typed_config"]
    common = tls["common_tls_context"]
    context = common["combined_validation_context"]["default_validation_context"]
    assert cluster["name"] == files.XDS_CLUSTER
    assert tls["sni"] == "zone.dc1.mesh.example"
    assert context["match_typed_subject_alt_names"] == [
        {"san_type": "URI", "matcher": {"exact": "spiffe://mesh.example/mesh/zone/dc1"}}
    ]
    assert common["tls_params"]["tls_minimum_protocol_version"] == "TLSv1_3"
    assert common["tls_params"]["tls_maximum_protocol_version"] == "TLSv1_3"


def test_every_server_of_the_zone_is_an_endpoint() -> None:
    (cluster,) = bootstrap.live(PROXY)["static_resources"]["clusters"]
    (locality,) = cluster["load_assignment"]["endpoints"]
    found = [each["endpoint"]["address"]["socket_address"] for each in locality["lb_endpoints"]]
    assert [(each["address"], each["port_value"]) for each in found] == list(PROXY.xds)


def test_the_static_one_asks_nobody() -> None:
    content = bootstrap.static(PROXY, [], [])
    assert "dynamic_resources" not in content
    assert files.XDS_CLUSTER not in json.dumps(content)


def test_envoy_follows_incremental_xds_and_waits_for_it() -> None:
    dynamic = bootstrap.live(PROXY)["dynamic_resources"]
    assert dynamic["ads_config"]["api_type"] == "DELTA_GRPC"
    assert dynamic["ads_config"]["set_node_on_first_message_only"] is True
    for kind in ("cds_config", "lds_config"):
        assert dynamic[kind]["initial_fetch_timeout"] == "0s"


def test_only_the_owner_may_speak_to_the_admin_interface() -> None:
    moved = bootstrap.with_admin_socket(bootstrap.live(PROXY), "other.sock")
    assert moved["admin"]["address"]["pipe"] == {"path": "other.sock", "mode": 0o600}
