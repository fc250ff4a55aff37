"""MeshPassthrough: what several documents let through together."""

from __future__ import annotations

import pytest

from mesh.model.passthrough import (
    HostKind,
    HostProtocol,
    Passthrough,
    PassthroughMatch,
    PassthroughMode,
)
from mesh.policies.kinds.passthrough import KIND, passthrough
from tests.policies.kinds.reading import document, violations

MAIL = PassthroughMatch(HostKind.CIDR, "192.0.2.0/24", port=25)
SITE = PassthroughMatch(HostKind.DOMAIN, "*.example.com", HostProtocol.TLS, 443)
_MAIL = "{type: CIDR, value: 192.0.2.0/24, port: 25}"
_SITE = "{type: Domain, value: '*.Example.com', port: 443, protocol: tls}"


def _together(*defaults: str) -> Passthrough | None:
    return passthrough([document(KIND, f"default: {default}") for default in defaults])


def test_nothing_said() -> None:
    assert _together() is None


def test_hosts_of_all_documents_pass() -> None:
    found = _together(
        f"{{passthroughMode: Matched, appendMatch: [{_MAIL}]}}",
        f"{{appendMatch: [{_SITE}, {_MAIL}]}}",
    )
    assert found == Passthrough(PassthroughMode.MATCHED, (MAIL, SITE))


def test_hosts_without_a_mode_are_matched() -> None:
    assert _together(f"{{appendMatch: [{_SITE}]}}") == Passthrough(PassthroughMode.MATCHED, (SITE,))


@pytest.mark.parametrize("mode", ["All", "None"])
def test_the_specific_mode_holds(mode: str) -> None:
    found = _together(f"{{appendMatch: [{_MAIL}]}}", f"{{passthroughMode: {mode}}}")
    assert found == Passthrough(PassthroughMode(mode.lower()))


@pytest.mark.parametrize("mode", ["All", "None"])
def test_specific_hosts_without_a_mode_hold_against_a_general_mode(mode: str) -> None:
    found = _together(f"{{passthroughMode: {mode}}}", f"{{appendMatch: [{_MAIL}]}}")
    assert found == Passthrough(PassthroughMode.MATCHED, (MAIL,))


def test_an_address_is_spelt_one_way() -> None:
    found = _together("{appendMatch: [{type: IP, value: '2001:DB8:0::1'}]}")
    assert found is not None
    assert found.matches == (PassthroughMatch(HostKind.IP, "2001:db8::1"),)


def test_everything_wrong_is_told_at_once() -> None:
    found = violations(
        KIND,
        """
        rules: []
        default:
          passthroughMode: Some
          appendMatch:
            - {type: Domain, value: a.example.com}
            - {type: Domain, value: "a.*.com", protocol: tls}
            - {type: IP, value: 192.0.2}
            - {type: CIDR, value: 192.0.2.1/24}
            - {type: Host, value: a, port: 0, protocol: udp}
        """,
    )
    matches = "spec.default.appendMatch"
    assert set(found) == {
        "spec.rules",
        "spec.default.passthroughMode",
        *(f"{matches}[{index}]" for index in range(4)),
        *(f"{matches}[4].{name}" for name in ("type", "port", "protocol")),
    }


@pytest.mark.parametrize(
    "default",
    [
        "{}",
        f"{{passthroughMode: All, appendMatch: [{_SITE}]}}",
        "{appendMatch: [{type: IP, value: 1.2.3.4}, {type: IP, value: 1.2.3.4, protocol: http}]}",
    ],
)
def test_what_makes_no_sense_together_is_refused(default: str) -> None:
    assert set(violations(KIND, f"default: {default}")) == {"spec.default"}
