"""``mesh config``: resources in tables, from a real Envoy and from what a zone says."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mesh.agent.envoy_process import find_envoy
from mesh.cli import resources
from mesh.cli.resources import Kind, Shown
from mesh.envoy.resource import LISTENER
from tests.cli.conftest import Mesh

CONFIG = {
    "admin": {"address": {"pipe": {"path": "envoy-live.sock"}}},
    "static_resources": {
        "listeners": [
            {
                "name": "inbound",
                "address": {"socket_address": {"address": "127.0.0.1", "port_value": 0}},
                "filter_chains": [
                    {
                        "filters": [
                            {
                                "name": "envoy.filters.network.tcp_proxy",
                                "typed_config": {
                                    "@type": "type.googleapis.com/"
                                    "envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy",
                                    "stat_prefix": "x",
                                    "cluster": "app",
                                },
                            }
                        ]
                    }
                ],
            }
        ],
        "clusters": [
            {
                "name": "app",
                "type": "STATIC",
                "load_assignment": {
                    "cluster_name": "app",
                    "endpoints": [
                        {
                            "lb_endpoints": [
                                {
                                    "endpoint": {
                                        "address": {
                                            "socket_address": {"address": "::1", "port_value": 9}
                                        }
                                    }
                                }
                            ]
                        }
                    ],
                },
            }
        ],
    },
}


@pytest.fixture
def state_dir(tmp_path: Path) -> Iterator[Path]:
    """The state directory of a running Envoy; its path is longer than a socket's may be."""
    directory = tmp_path / ("long" * 20) / ("name" * 10)
    directory.mkdir(parents=True)
    config = directory / "envoy.json"
    config.write_text(json.dumps(CONFIG))
    process = subprocess.Popen(
        [str(find_envoy(None)), "-c", str(config), "--use-dynamic-base-id", "--concurrency", "1"],
        cwd=directory,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        deadline = time.monotonic() + 30
        while not (directory / "envoy-live.sock").exists():
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.02)
        yield directory
    finally:
        process.kill()
        process.wait()


def test_the_envoy_of_this_host_is_shown(mesh: Mesh, state_dir: Path) -> None:
    result = mesh("config", "--state-dir", str(state_dir))
    assert result.exit_code == 0, result.output
    for expected in ("Listeners:", "inbound", "tcp_proxy", "app", "[::1]:9", "static"):
        assert expected in result.output
    shown = json.loads(
        mesh("config", "clusters", "--state-dir", str(state_dir), "-o", "json").output
    )
    assert [(each["kind"], each["name"]) for each in shown] == [("clusters", "app")]


def test_no_envoy_is_named_with_a_remedy(mesh: Mesh, tmp_path: Path) -> None:
    result = mesh("config", "--state-dir", str(tmp_path))
    assert result.exit_code == 3
    assert f"no Envoy answers in {tmp_path}" in result.output
    assert "remedy: " in result.output


def test_exactly_one_place_is_asked(mesh: Mesh, tmp_path: Path) -> None:
    assert mesh("config", "--proxy", "web/1", "--state-dir", str(tmp_path)).exit_code == 2


json_values = st.recursive(
    st.one_of(st.none(), st.integers(), st.text(max_size=4)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(st.sampled_from(["name", "private_key", "password"]), inner, max_size=3),
    ),
)


@given(json_values)
def test_what_is_secret_never_passes(content: Any) -> None:
    text = json.dumps(resources.redact({"private_key": content, "deep": [{"password": content}]}))
    assert json.loads(text) == {
        "private_key": resources.REDACTED,
        "deep": [{"password": resources.REDACTED}],
    }
    assert '"private_key": {' not in json.dumps(resources.redact(content))


def test_a_listener_that_refused_its_update_says_so() -> None:
    listener = {"@type": LISTENER, "name": "in"}
    dump = {
        "configs": [
            {
                "dynamic_listeners": [
                    {
                        "name": "in",
                        "active_state": {"version_info": "7", "listener": listener},
                        "error_state": {"failed_configuration": listener, "details": "no"},
                    }
                ],
            }
        ]
    }
    states = {each.state for each in resources.from_dump(dump)}
    assert "active, last update refused" in states


def row(kind: Kind, content: dict[str, Any]) -> list[list[str]]:
    shown = [Shown(kind, "x", "active", "1", content)]
    return [list(each) for each in resources.rows(kind, shown)]


def test_routes_tell_what_matches_and_where_it_goes() -> None:
    route = {
        "virtual_hosts": [
            {
                "domains": ["*"],
                "routes": [
                    {"match": {"prefix": "/a"}, "route": {"cluster": "api"}},
                    {"match": {"prefix": "/b"}, "direct_response": {"status": 403}},
                    {
                        "match": {"prefix": "/"},
                        "route": {"weighted_clusters": {"clusters": [{"name": "v1", "weight": 9}]}},
                    },
                    {
                        "match": {
                            "safe_regex": {"regex": "/[0-9]+"},
                            "headers": [{"name": ":method"}, {"name": "x-canary"}],
                            "query_parameters": [{"name": "q"}],
                        },
                        "redirect": {"response_code": "FOUND"},
                    },
                    {"match": {"path": "/old"}, "redirect": {"path_redirect": "/new"}},
                ],
            }
        ]
    }
    assert [each[2:4] for each in row(Kind.ROUTES, route)] == [
        ["prefix=/a", "api"],
        ["prefix=/b", "answers 403"],
        ["prefix=/", "v1 9"],
        ["regex=/[0-9]+, header :method, header x-canary, query q", "redirects, 302"],
        ["path=/old", "redirects, 301"],
    ]


def test_empty_resources_keep_their_row() -> None:
    assert row(Kind.ENDPOINTS, {}) == [["x", "none", "", "", "", "active"]]
    assert row(Kind.ROUTES, {}) == [["x", "", "", "", "active"]]
    assert row(Kind.SECRETS, {}) == [["x", "trust bundle", "", "", "active"]]


def test_filters_and_transport_are_told_shortly() -> None:
    tls = {"name": "envoy.transport_sockets.tls", "typed_config": {"sni": "api.default"}}
    assert row(Kind.CLUSTERS, {"type": "EDS", "transport_socket": tls}) == [
        ["x", "EDS", "tls", "api.default", "active"]
    ]
    manager = {
        "name": "envoy.filters.network.http_connection_manager",
        "typed_config": {"http_filters": [{"name": "envoy.filters.http.rbac"}, {"name": "router"}]},
    }
    listener = {"filter_chains": [{"filters": [manager]}]}
    assert row(Kind.LISTENERS, listener)[0][2] == "http_connection_manager(rbac, router)"
