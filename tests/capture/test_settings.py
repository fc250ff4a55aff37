"""What the settings of a host may say, and what is planned from them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from mesh.capture import surroundings
from mesh.capture.plan import Plan, Taker, plan
from mesh.capture.verdict import Outbound, Protocol, verdict
from mesh.config.capture import CaptureSettings, load_capture
from mesh.config.zone import ZoneSettings
from mesh.model.violations import InvalidInputError
from tests.capture.plans import OWN

USERS = {"mesh": OWN, "consul": 998, "chrony": 120, "web": 1001, "www": 1001}
WEB: dict[str, Any] = {"service": "web", "users": ["web"], "outbound": 15001}


def loaded(tmp_path: Path, text: str) -> CaptureSettings:
    (tmp_path / "capture.yaml").write_text(text)
    return load_capture(tmp_path / "capture.yaml")


def planned(**document: Any) -> Plan:
    return plan(CaptureSettings.model_validate(document), USERS.get)


def violations(**document: Any) -> list[str]:
    with pytest.raises(InvalidInputError) as refused:
        planned(**document)
    return [str(each) for each in refused.value.violations]


def test_the_file_of_a_host_is_read(tmp_path: Path) -> None:
    found = loaded(
        tmp_path,
        """
        proxies:
          - service: web
            users: [web, 1005]
            cgroups: [/system.slice/web.service]
            outbound: 15001
            inbound: {8080: 15006}
          - {service: api, outbound: 15011, to: all}
        exclude: {ports: [25], cidrs: [10.0.0.0/8], users: [backup]}
        dns: {}
        """,
    )
    web, api = found.proxies
    assert (web.users, web.cgroups) == (("web", "1005"), ("system.slice/web.service",))
    assert (web.to, web.inbound, web.takes_everybody) == ("mesh", {8080: 15006}, False)
    assert api.takes_everybody
    assert found.dns is not None
    assert found.dns.port == 15053


def test_everything_wrong_is_told_at_once(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError) as refused:
        loaded(
            tmp_path,
            """
            proxies:
              - {service: a b, users: [mesh, "x y"], outbound: 0, inbound: {22: 15006}}
              - {service: b, outbound: 70000, cgroups: [../up, ""], too: all}
            exclude: {ports: [0], cidrs: [10.0.0.1/8]}
            dns: {domain: corp}
            """,
        )
    assert {each.path for each in refused.value.violations} == {
        "proxies[0].service",
        "proxies[0].users[1]",
        "proxies[0].outbound",
        "proxies[1].outbound",
        "proxies[1].cgroups[0]",
        "proxies[1].cgroups[1]",
        "proxies[1].too",
        "exclude.ports[0]",
        "exclude.cidrs[0]",
        "dns.domain",
    }


@pytest.mark.parametrize(
    ("proxy", "path"),
    [
        ({"service": "a", "users": ["mesh"], "outbound": 1}, "proxies[0].users[0]"),
        ({"service": "a", "outbound": 1, "inbound": {22: 15006}}, "proxies[0].inbound.22"),
        ({"service": "a", "users": ["web"], "inbound": {80: 2}}, "proxies[0].users"),
        ({"service": "a", "to": "all", "inbound": {80: 2}}, "proxies[0].to"),
        ({"service": "a"}, "proxies[0]"),
        ({"service": "a", "inbound": {15001: 15006, 80: 15001}}, "proxies[0].inbound.15001"),
    ],
)
def test_a_proxy_that_cannot_be_meant_is_refused(
    tmp_path: Path, proxy: dict[str, Any], path: str
) -> None:
    with pytest.raises(InvalidInputError) as refused:
        loaded(tmp_path, str({"proxies": [proxy]}))
    assert [each.path for each in refused.value.violations] == [path]


@pytest.mark.parametrize(
    "other",
    [
        {"service": "web", "users": ["x"], "outbound": 15011},
        {"service": "b", "users": ["web"], "outbound": 15011},
        {"service": "b", "users": ["x"], "outbound": 15001},
        {"service": "b", "inbound": {15001: 15016}},
    ],
)
def test_proxies_do_not_get_into_one_anothers_way(tmp_path: Path, other: dict[str, Any]) -> None:
    with pytest.raises(InvalidInputError):
        loaded(tmp_path, str({"proxies": [WEB, other]}))


def test_two_cannot_take_everybodys(tmp_path: Path) -> None:
    two = [{"service": "a", "outbound": 1}, {"service": "b", "outbound": 2}]
    with pytest.raises(InvalidInputError, match="neither users nor cgroups"):
        loaded(tmp_path, str({"proxies": two}))


def test_nothing_at_all_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match="nothing is captured"):
        loaded(tmp_path, "exclude: {ports: [25]}")


def test_the_trust_domain_is_the_zones_by_default() -> None:
    default = CaptureSettings.model_fields["trust_domain"].default
    assert default == ZoneSettings.model_fields["trust_domain"].default


def test_users_that_this_host_does_not_have_are_told_together() -> None:
    found = violations(
        proxies=({**WEB, "users": ("nobody-here",)},), exclude={"users": ("nor-here",)}
    )
    assert found == [
        "exclude.users[0]: there is no user 'nor-here' on this host",
        "proxies[0].users[0]: there is no user 'nobody-here' on this host",
    ]


def test_without_the_proxies_user_nothing_is_planned() -> None:
    with pytest.raises(InvalidInputError, match="there is no user mesh"):
        plan(CaptureSettings.model_validate({"proxies": (WEB,)}), {"web": 1}.get)


def test_the_uid_decides_who_is_who() -> None:
    assert violations(proxies=({**WEB, "users": ("998",)},)) == [
        "proxies[0].users[0]: 998 is uid 998, which is never captured"
    ]
    again = {"service": "b", "users": ("www",), "outbound": 15011}
    assert violations(proxies=(WEB, again)) == [
        "proxies[1].users[0]: www is uid 1001, as proxies[0].users[0] is"
    ]


def test_the_hosts_agents_are_left_alone_where_they_exist() -> None:
    assert planned(proxies=(WEB,)).exempt == (120, 998, OWN)


def test_the_kernels_own_connections_are_nobodys() -> None:
    made = planned(proxies=({"service": "web", "outbound": 15001, "to": "all"},))
    packet = Outbound(made.virtual[0][1], 2049, None)
    assert verdict(made, packet) is None


def test_a_proxy_without_its_cgroup_takes_nobodys(tmp_path: Path) -> None:
    made = planned(proxies=({**WEB, "users": (), "cgroups": ("a", "b/c")},))
    (tmp_path / "a").mkdir()
    found, missing = surroundings.with_cgroups_there(made, tmp_path)
    assert missing == ["b/c"]
    assert found.takers == (Taker("web", 15001, to_all=False, cgroups=("a",)),)
    (tmp_path / "a").rmdir()
    found, _ = surroundings.with_cgroups_there(made, tmp_path)
    assert verdict(found, Outbound(made.virtual[0][1], 80, 1001)) is None


def test_what_is_not_tcp_is_left_alone() -> None:
    made = planned(proxies=({"service": "web", "outbound": 15001, "to": "all"},), dns={})
    packet = Outbound(made.virtual[0][1], 67, 1001, Protocol.UDP)
    assert verdict(made, packet) is None
