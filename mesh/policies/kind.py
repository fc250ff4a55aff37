"""What a kind of policy is: its model, what else must hold, and what it contributes.

A contribution takes a part of the intermediate form and returns it with its own fields set; it
never looks at what other policies said.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from mesh.model.destinations import Settings
from mesh.model.inbound import InboundRoute, InboundTraffic
from mesh.model.services import Protocol
from mesh.model.traffic import Route
from mesh.policies.shape import Strict
from mesh.policies.spec import Spec

Violations = Iterable[tuple[str, str]]
"""Pairs of path (below ``spec``) and message."""

OnRoute = Callable[[Any, Route, Protocol], Route]
OnTarget = Callable[[Any, Settings, Protocol], Settings]
OnInboundRoute = Callable[[Any, InboundRoute, Protocol], InboundRoute]
OnInbound = Callable[[Any, InboundTraffic, Protocol], InboundTraffic]


OnUnread = Callable[[InboundTraffic, Protocol, str], InboundTraffic]


@dataclass(frozen=True, slots=True)
class Closing:
    """What holds at the selected proxies while a document that guards them cannot be read.

    ``apply`` takes their inbound side, what they speak, and the document's label.  ``words``
    tell a person.
    """

    apply: OnUnread
    words: str


def _nothing(_: Any) -> Violations:
    return ()


def _as_it_is(spec: Any, _: str) -> Any:
    return spec


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of policy.

    ``conf`` is the model of ``default``.  Each contribution takes a merged ``conf``:
    ``on_route`` for an outbound route, ``on_target`` for how a target is treated,
    ``on_inbound_route`` for the inbound requests that a rule matches, ``on_inbound`` for the
    inbound side as a whole (from a rule without matches).  ``check`` says what is wrong with a
    spec beyond its types.  ``named`` gives a spec that is valid the name (``<mesh>/<name>``) of
    its document, where what it contributes must be told from what others do.  ``closing`` stands
    in for a document that cannot be read, where to leave it out would open what it closes.
    ``example`` is a document (YAML) that is valid as it stands.
    """

    name: str
    summary: str
    spec: type[Spec]
    example: str
    conf: type[Strict] | None = None
    on_route: OnRoute | None = None
    on_target: OnTarget | None = None
    on_inbound_route: OnInboundRoute | None = None
    on_inbound: OnInbound | None = None
    check: Callable[[Any], Violations] = _nothing
    named: Callable[[Any, str], Any] = _as_it_is
    closing: Closing | None = None

    @property
    def has_to(self) -> bool:
        """Whether it says how its proxies treat what they call."""
        return "to" in self.spec.model_fields

    @property
    def has_rules(self) -> bool:
        """Whether it says how its proxies treat those who call them."""
        return "rules" in self.spec.model_fields
