"""MeshTLS: strict or permissive, and never by request."""

from __future__ import annotations

from mesh.model.inbound import OPEN_INBOUND, TlsMode
from mesh.model.services import Protocol
from mesh.policies.kinds.tls_mode import KIND
from tests.policies.kinds.reading import rule, violations


def test_the_mode_is_the_listeners() -> None:
    assert KIND.on_inbound is not None
    for text, mode in (("Strict", TlsMode.STRICT), ("Permissive", TlsMode.PERMISSIVE)):
        conf = rule(KIND, f"{{mode: {text}}}")
        assert KIND.on_inbound(conf, OPEN_INBOUND, Protocol.TCP).mode is mode


def test_an_unknown_mode_is_refused() -> None:
    assert set(violations(KIND, "rules: [{default: {mode: Off}}]")) == {
        "spec.rules[0].default.mode"
    }


def test_a_rule_that_cannot_hold_is_refused() -> None:
    found = violations(
        KIND,
        """
        rules:
          - matches: [{method: GET}]
            default: {mode: Strict}
          - default: {mode: Permissive}
        """,
    )
    assert set(found) == {"spec.rules[0].matches", "spec.rules[1]"}
