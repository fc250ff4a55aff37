"""Reading intentions as Consul writes them."""

from typing import Any

import pytest

from mesh.clients.consul.intention_entries import parse_entry, parse_legacy
from mesh.model.intentions import Action, Intention, JwtRequirement, PathMatch, PathMatchKind
from mesh.model.violations import InvalidInputError


def entry(*sources: dict[str, Any], name: str = "api", **fields: Any) -> dict[str, Any]:
    return {"Kind": "service-intentions", "Name": name, "Sources": list(sources), **fields}


def violations(raw: dict[str, Any]) -> dict[str, str]:
    with pytest.raises(InvalidInputError) as caught:
        parse_entry(raw)
    return {violation.path: violation.message for violation in caught.value.violations}


def test_an_entry_as_consul_returns_it() -> None:
    raw = entry(
        {
            "Name": "web",
            "Action": "allow",
            "Precedence": 9,
            "Type": "consul",
            "Description": "shop",
            "LegacyID": "7",
            "LegacyMeta": {},
            "LegacyCreateTime": "2024-01-01T00:00:00Z",
            "LegacyUpdateTime": "2024-01-01T00:00:00Z",
        },
        {"Name": "*", "Action": "deny", "Precedence": 8, "Namespace": "default"},
        JWT={"Providers": [{"Name": "okta"}]},
        Meta={"a": "b"},
        CreateIndex=1,
        ModifyIndex=2,
        Hash=12,
    )
    jwt = (JwtRequirement("okta"),)
    assert parse_entry(raw) == (
        Intention("web", "api", Action.ALLOW, jwt=jwt, description="shop"),
        Intention("*", "api", Action.DENY, jwt=jwt),
    )


def test_snake_case_is_read_like_camel_case() -> None:
    raw = {
        "kind": "service-intentions",
        "name": "api",
        "sources": [
            {
                "name": "web",
                "permissions": [{"action": "allow", "http": {"path_prefix": "/v1"}}],
            }
        ],
    }
    (found,) = parse_entry(raw)
    assert found.permissions[0].path == PathMatch(PathMatchKind.PREFIX, "/v1")


def test_every_violation_is_reported_at_once() -> None:
    found = violations(
        entry(
            {"Name": "web", "Action": "allow", "Permissions": [{"Action": "allow", "HTTP": {}}]},
            {"Name": "ops"},
            {"Name": "a.b", "Action": "permit"},
            {
                "Name": "cli",
                "Permissions": [
                    {
                        "HTTP": {
                            "PathExact": "/a",
                            "PathPrefix": "b",
                            "Header": [{"Name": "x", "Exact": "1", "Present": True}],
                            "Method": ["GET"],
                        }
                    }
                ],
            },
            Sauces=[],
        )
    )
    assert set(found) == {
        "Sources[0]",
        "Sources[1]",
        "Sources[2].Name",
        "Sources[2].Action",
        "Sources[3].Permissions[0].Action",
        "Sources[3].Permissions[0].HTTP",
        "Sources[3].Permissions[0].HTTP.PathPrefix",
        "Sources[3].Permissions[0].HTTP.Header[0]",
        "Sources[3].Permissions[0].HTTP.Method",
        "Sauces",
    }
    assert found["Sauces"] == "unknown field"


def test_permissions_are_impossible_for_a_wildcard_destination() -> None:
    source = {"Name": "web", "Permissions": [{"Action": "allow", "HTTP": {"PathExact": "/"}}]}
    assert "Sources[0].Permissions" in violations(entry(source, name="*"))


def test_a_peers_source_is_another_than_our_own_of_that_name() -> None:
    found = parse_entry(
        entry(
            {"Name": "web", "Action": "allow"},
            {"Name": "web", "Peer": "far", "Action": "deny"},
            {"Name": "*", "Peer": "far", "Action": "allow"},
            # As Consul makes them of the records of 1.8 when it is upgraded.
            {"Name": "web@near", "Action": "allow"},
            {"Name": "@near", "Action": "deny"},
        )
    )
    assert [(item.source, item.action) for item in found] == [
        ("web", Action.ALLOW),
        ("web@far", Action.DENY),
        ("*@far", Action.ALLOW),
        ("web@near", Action.ALLOW),
        ("*@near", Action.DENY),
    ]


@pytest.mark.parametrize(
    "source", [{"Name": "web@far", "Peer": "far"}, {"Name": "web@"}, {"Name": "web", "Peer": "F r"}]
)
def test_a_peer_that_cannot_be_is_refused(source: dict[str, Any]) -> None:
    assert "Sources[0].Name" in violations(entry({**source, "Action": "allow"}))


def test_a_peers_source_has_no_wildcard_destination() -> None:
    source = {"Name": "web", "Peer": "far", "Action": "allow"}
    assert "Sources[0].Peer" in violations(entry(source, name="*"))


@pytest.mark.parametrize(
    "source",
    [
        {"Name": "web", "Action": "allow", "Namespace": "team"},
        {"Name": "web", "Action": "allow", "Partition": "east"},
        {"Name": "web", "Action": "allow", "SamenessGroup": "all"},
        {"Name": "web", "Action": "allow", "Type": "external"},
        {"Name": "we*", "Action": "allow"},
    ],
)
def test_what_would_widen_an_intention_is_refused(source: dict[str, Any]) -> None:
    assert len(violations(entry(source))) == 1


def test_a_source_twice_is_refused() -> None:
    twice = {"Name": "web", "Action": "allow"}
    assert "Sources[1].Name" in violations(entry(twice, twice))


def test_wrong_types_do_not_stop_the_reading() -> None:
    found = violations({"Name": 7, "Sources": {"Name": "web"}, "JWT": []})
    assert set(found) == {"Name", "Sources", "JWT", "JWT.Providers"}


LEGACY = {
    "ID": "0b97",
    "Description": "",
    "SourceNS": "default",
    "SourceName": "web",
    "DestinationNS": "default",
    "DestinationName": "*",
    "SourceType": "consul",
    "Action": "deny",
    "DefaultAddr": "",
    "DefaultPort": 0,
    "Meta": {},
    "Precedence": 6,
    "CreatedAt": "2024-01-01T00:00:00Z",
    "UpdatedAt": "2024-01-01T00:00:00Z",
    "Hash": "x",
    "CreateIndex": 1,
    "ModifyIndex": 1,
}


def test_a_legacy_intention() -> None:
    assert parse_legacy(LEGACY) == Intention("web", "*", Action.DENY, id="0b97")


def test_a_legacy_intention_with_everything_wrong() -> None:
    raw = {**LEGACY, "Action": "maybe", "SourceNS": "team", "DestinationName": "", "Colour": 1}
    with pytest.raises(InvalidInputError) as caught:
        parse_legacy(raw)
    paths = {violation.path for violation in caught.value.violations}
    assert paths == {"Action", "SourceNS", "DestinationName", "Colour"}
