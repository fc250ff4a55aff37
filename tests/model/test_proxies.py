"""A proxy's need survives its journey in the node metadata, and bad metadata is refused whole."""

from __future__ import annotations

from typing import Any

import pytest
from google.protobuf import json_format, struct_pb2

from mesh.model import need_metadata
from mesh.model.proxies import Capture, Inbound, ProxyNeed, Upstream
from mesh.model.violations import InvalidInputError

NEED = ProxyNeed(
    "web",
    "dc1",
    Inbound("127.0.0.1", 15006, "::1", 8080),
    (Upstream("api", 9001), Upstream("db", 9002, "127.0.0.2")),
    capture=Capture("::", 15001),
    dns=Capture("127.0.0.1", 15053, "::1"),
    metrics="[::1]:15020",
)


def test_a_need_survives_envoys_struct() -> None:
    struct = struct_pb2.Struct()
    json_format.ParseDict(NEED.to_metadata(), struct)
    assert need_metadata.parse(json_format.MessageToDict(struct)) == NEED


def test_a_proxy_may_only_call() -> None:
    need = ProxyNeed("batch", "dc1", None)
    assert need_metadata.parse(need.to_metadata()) == need


def test_every_violation_is_reported_at_once() -> None:
    raw: dict[str, Any] = {
        "role": "king",
        "service": "a/b",
        "zone": 7,
        "inbound": {"address": "host", "port": 0, "local_address": "127.0.0.1", "x": 1},
        "upstreams": [
            {"service": "api", "port": 9001.5},
            {"service": "api", "port": 9001},
            {"service": "db", "port": 9001},
            "nonsense",
        ],
        "capture": {"address": "localhost", "port": "x", "y": 1},
        "dns": {"address": "::", "port": 53, "also": "here"},
        "extra": True,
    }
    with pytest.raises(InvalidInputError) as refused:
        need_metadata.parse(raw)
    assert {violation.path for violation in refused.value.violations} == {
        "role",
        "service",
        "zone",
        "inbound.address",
        "inbound.port",
        "inbound.local_port",
        "inbound.x",
        "upstreams[0].port",
        "upstreams[2].port",
        "upstreams[3]",
        "capture.address",
        "capture.port",
        "capture.y",
        "dns.also",
        "extra",
    }


@pytest.mark.parametrize("role", [{}, [], None, 7, "king"])
def test_a_role_that_is_none_is_a_violation(role: object) -> None:
    with pytest.raises(InvalidInputError, match="unknown role"):
        need_metadata.parse({**NEED.to_metadata(), "role": role})


@pytest.mark.parametrize(
    "raw", [{"upstreams": 3}, {"upstreams": "api"}, {"inbound": []}, {"capture": 15001}, {}]
)
def test_wrong_shapes_are_violations_not_crashes(raw: dict[str, Any]) -> None:
    with pytest.raises(InvalidInputError):
        need_metadata.parse(raw)


@pytest.mark.parametrize("place", [":15020", "10.0.0.7:1", "[fd00::1]:65535", ""])
def test_where_the_agent_is_asked_is_an_address_or_the_proxys_own(place: str) -> None:
    need = ProxyNeed("web", "dc1", None, metrics=place)
    assert need_metadata.parse(need.to_metadata()).metrics == place


@pytest.mark.parametrize(
    "place",
    [
        *("host:1", "10.0.0.7", "10.0.0.7:0", "10.0.0.7:x", ":70000", 7),
        pytest.param(":" + "1" * 5000, id="long"),
    ],
)
def test_anything_else_is_refused(place: object) -> None:
    raw = {**ProxyNeed("web", "dc1", None).to_metadata(), "metrics": place}
    with pytest.raises(InvalidInputError, match="metrics"):
        need_metadata.parse(raw)
