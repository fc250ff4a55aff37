"""The settings of gateways."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from mesh.config.proxy import ProxySettings, load_proxy
from mesh.model.proxies import GATEWAYS, Role
from mesh.model.violations import InvalidInputError


def settings(role: Role, **more: Any) -> ProxySettings:
    given = {"zone_api": ["zone:5678"], "join_token_file": "/run/token", "state_dir": "/var/lib/x"}
    return load_proxy(None, {"role": role.value, **given, **more})


@pytest.mark.parametrize(
    ("role", "port", "files"),
    [(Role.ZONE_GATEWAY, 10_001, None), (Role.EGRESS, 10_002, "/etc/mesh/egress")],
)
def test_a_gateway_need_not_be_told_its_name_and_port(
    role: Role, port: int, files: str | None
) -> None:
    found = settings(role).for_agent()
    assert (found["service"], found["inbound"]["port"]) == (GATEWAYS[role], port)
    assert found["files_dir"] == files


def test_an_egress_gateways_files_may_lie_elsewhere(tmp_path: Path) -> None:
    assert settings(Role.EGRESS, files_dir=str(tmp_path)).for_agent()["files_dir"] == str(tmp_path)


@pytest.mark.parametrize(
    ("role", "more", "words"),
    [
        (Role.EGRESS, {"service": "mesh-gateway"}, "in the role egress is called mesh-egress"),
        (Role.ZONE_GATEWAY, {"service": "mesh-egress"}, "is called mesh-gateway"),
        (Role.EGRESS, {"app": "127.0.0.1:80"}, "has none"),
        (Role.EGRESS, {"wan_address": "192.0.2.1:1"}, "nobody dials an egress"),
        (Role.ZONE_GATEWAY, {"files_dir": "/etc"}, "is for egress gateways"),
        (Role.SIDECAR, {"service": "mesh-egress", "app": "127.0.0.1:80"}, "zone's gateways"),
        (Role.SIDECAR, {"service": "a", "app": "127.0.0.1:80", "files_dir": "/etc"}, "gateways"),
    ],
)
def test_what_does_not_fit_the_role_is_refused(
    role: Role, more: dict[str, str], words: str
) -> None:
    with pytest.raises(InvalidInputError) as caught:
        settings(role, **more)
    assert any(words in str(violation) for violation in caught.value.violations)
