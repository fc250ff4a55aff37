"""What the collection plans for a host, and what it refuses."""

from __future__ import annotations

import importlib.util
import re
import textwrap
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml

from mesh.config.loading import validate
from mesh.config.proxy import ProxySettings
from tests.ansible.estate import COLLECTION
from tests.vms import wheels

WEB: dict[str, Any] = {"name": "web", "port": 8080, "upstreams": ["api:9001"]}
JOIN = {"consul_token": False, "identity": "join_token"}
COMMON = {"zone_api": ["10.0.0.10:5678"], "registration": "zone"}


def _filters(name: str) -> ModuleType:
    file = COLLECTION / "plugins" / "filter" / f"{name}.py"
    spec = importlib.util.spec_from_file_location(f"mesh_vms_{name}", file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


plan, words = _filters("plan"), _filters("words")


@pytest.mark.parametrize(
    ("services", "said"),
    [
        ([WEB], []),
        ([WEB, {"name": "api", "port": 8081, "capture": {"users": ["api"]}}], []),
        (
            [WEB, {"name": "shop", "port": 8080}],
            [
                (
                    "port 8080 is wanted by the application of web and by the application of shop: "
                    "move all but one"
                )
            ],
        ),
        (
            [{"name": "web", "port": 15006}],
            [
                (
                    "port 15006 is wanted by the application of web "
                    "and by the proxy of web (callers): "
                    "move all but one"
                )
            ],
        ),
        (
            [WEB, WEB | {"port": 1, "upstreams": []}],
            ["service web is declared 2 times: a host has one proxy for each"],
        ),
        (
            [{"name": "Web", "port": 80}],
            ["service 'Web': use lower-case letters, digits and '-', 63 at most"],
        ),
        (
            [{"name": "web"}],
            ["service web: give port, upstreams or capture, else its proxy does nothing"],
        ),
        (
            [{"name": "web", "upstreams": ["api", "api:x", "api:nowhere:1", "db:127.0.0.2:5432"]}],
            [
                f"service web: {each!r} is no upstream: write service:port, service.zone:port or "
                "service:address:port"
                for each in ("api", "api:x", "api:nowhere:1")
            ],
        ),
        (
            [{"name": "web", "capture": {}}, {"name": "api", "capture": {}}],
            [
                (
                    "services web and api both capture everybody's connections: "
                    "say capture.users or "
                    "capture.cgroups for all but one"
                )
            ],
        ),
        (
            [{"name": "web", "port": 99999}],
            ["port 99999 of the application of web is none: use 1 to 65535"],
        ),
        (
            [{"name": "web", "upstreams": ["api:1"], "capture": {"inbound": True, "users": ["w"]}}],
            ["service web: capture.inbound needs the service's port"],
        ),
    ],
)
def test_everything_that_is_wrong_is_said(services: list[dict[str, Any]], said: list[str]) -> None:
    assert plan.problems(services) == said


def test_each_service_has_a_proxy_with_ports_of_its_own() -> None:
    services = [
        WEB | {"capture": {"users": ["web"], "to": "mesh"}},
        {"name": "api", "port": 8081, "health": {"kind": "http", "path": "/up", "interval": None}},
        {"name": "db", "port": 5432, "capture": {"outbound": False, "inbound": True}},
    ]
    web, api, db = plan.proxies(services, COMMON, JOIN)
    assert web["unit"] == "mesh-proxy@web.service"
    assert web["ready"] == "http://127.0.0.1:15020/ready"
    assert web["settings"]["capture"] == "127.0.0.1:15001"
    assert web["settings"]["dns"] == "127.0.0.1:15053"
    assert api["settings"]["health"] == {"kind": "http", "path": "/up"}
    assert [each["settings"]["inbound_port"] for each in (web, api, db)] == [15006, 15016, 15026]
    assert "capture" not in db["settings"]
    for each in (web, api, db):
        assert _accepted(each).service == each["service"]
    assert plan.capture(services, "corp.mesh", {"ports": [22]}) == {
        "trust_domain": "corp.mesh",
        "proxies": [
            {"service": "web", "users": ["web"], "outbound": 15001, "to": "mesh"},
            {"service": "db", "inbound": {5432: 15026}},
        ],
        "exclude": {"ports": [22]},
        "dns": {"port": 15053},
    }


def test_nothing_is_captured_where_nobody_asks() -> None:
    assert plan.capture([WEB], "corp.mesh", {}) == {}


@pytest.mark.parametrize(
    "said",
    [
        {"role": "ingress", "wan_address": "192.0.2.1:10001"},
        {"role": "egress"},
        {"role": "edge", "name": "door", "settings": {"concurrency": 4}},
    ],
)
def test_a_gateway_has_settings_that_it_takes(said: dict[str, Any]) -> None:
    common = COMMON | {"registration": "consul"}
    (gateway,) = plan.gateway(said, common, {"consul_token": True, "identity": "consul"})
    assert gateway["unit"] == "mesh-gateway.service"
    assert gateway["state"] == "/var/lib/mesh/gateway"
    settings = _accepted(gateway)
    token = "/run/credentials/mesh-gateway.service/consul-token"
    assert str(settings.consul.token_file) == str(settings.consul_token_file) == token


def test_what_is_not_wanted_any_more_is_found_with_all_its_files() -> None:
    paths = ["/etc/mesh/proxy-web.yaml", "/etc/mesh/proxy-old-one.yaml", "/etc/mesh/capture.yaml"]
    (gone,) = plan.gone(paths, plan.proxies([WEB], COMMON, JOIN))
    assert gone["unit"] == "mesh-proxy@old-one.service"
    assert plan.left_behind(gone) == [
        "/etc/mesh/proxy-old-one.yaml",
        "/etc/mesh/proxy-old-one.token",
        "/etc/mesh/proxy-old-one.consul-token",
        "/var/lib/mesh/old-one",
        "/etc/systemd/system/mesh-proxy@old-one.service.d",
    ]


def test_the_daemons_of_a_host_are_those_of_its_groups() -> None:
    said = {"role": "ingress"}
    everything = plan.daemons(["mesh_zone", "mesh_gateways", "mesh_hosts"], [WEB], said, {})
    assert [each["unit"] for each in everything] == [
        "mesh-zone.service",
        "mesh-gateway.service",
        "mesh-proxy@web.service",
    ]
    assert plan.daemons(["mesh_hosts"], [], {}, {}) == []


def test_hosts_are_dialled_where_they_say() -> None:
    hosts = [
        {"inventory_hostname": "a", "ansible_host": "10.0.0.1", "mesh_address": "192.0.2.1"},
        {"inventory_hostname": "b", "ansible_host": "10.0.0.2"},
        {"inventory_hostname": "c"},
        {"inventory_hostname": "d", "ansible_host": "fd00::1"},
    ]
    found = words.addresses(hosts)
    assert found == ["192.0.2.1", "10.0.0.2", "c", "[fd00::1]"]
    zone_api = [f"{each}:5678" for each in found]
    (web,) = plan.proxies([WEB], COMMON | {"zone_api": zone_api}, JOIN)
    assert [str(each) for each in _accepted(web).zone_api] == zone_api


def test_the_newest_root_is_the_one_of_the_last_rotation_whatever_others_are_called() -> None:
    issuers = {
        "1": {"issuer_name": "root-2024"},
        "2": {"issuer_name": "mesh-root-20260101000000"},
        "3": {"issuer_name": "mesh-root-20261123190000"},
        "4": {"issuer_name": ""},
    }
    assert words.newest_root(issuers) == "3"
    assert words.newest_root({"1": issuers["1"], "4": issuers["4"]}) == ""


@pytest.mark.parametrize("page", ["README.md", "docs/guides/vms.md"])
def test_the_inventory_of_a_page_has_all_that_is_required(page: str) -> None:
    text = (COLLECTION.parent / page).read_text()
    found = re.search(r"^( *)all:\n(?:(?:\1 .*)?\n)+", text, re.MULTILINE)
    assert found is not None
    said = yaml.safe_load(textwrap.dedent(found[0]))["all"]
    spec = yaml.safe_load((COLLECTION / "roles/mesh/meta/argument_specs.yml").read_text())
    options = spec["argument_specs"]["main"]["options"]
    required = {name for name, each in options.items() if each.get("required")}
    assert said["vars"].keys() >= {*required, "mesh_vault_address"}
    assert said["vars"].keys() <= options.keys()
    assert said["vars"]["mesh_version"] == wheels.VERSION
    assert said["children"]["mesh_zone"]["hosts"]
    for host in said["children"]["mesh_hosts"]["hosts"].values():
        assert plan.problems(host["mesh_services"]) == []


def _accepted(instance: dict[str, Any]) -> ProxySettings:
    """Parse the settings as the proxy does, with what its unit adds."""
    proof = {} if "consul_token_file" in instance["settings"] else {"join_token_file": "/a/token"}
    whole = {**instance["settings"], "state_dir": Path(instance["state"]).as_posix(), **proof}
    return validate(ProxySettings, whole, instance["file"])
