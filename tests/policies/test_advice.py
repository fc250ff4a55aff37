"""What is offered to change a verdict does change it."""

from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st

from mesh.model.intentions import (
    Action,
    ClaimMatch,
    Intention,
    JwtRequirement,
    PathMatch,
    PathMatchKind,
    Permission,
)
from mesh.model.services import Protocol
from mesh.policies.intentions import Call, judge, what_would_change
from mesh.policies.intentions.advice import with_action, without
from tests.policies.strategies import grouped, l7_intentions, requests

_COMMAND = re.compile(r"`mesh intention (allow|deny|delete) (\S+) (\S+)`")
_CALL = Call("web", "api", Protocol.HTTP, "GET", "/")


def test_a_call_denied_by_default_is_allowed_by_a_command() -> None:
    assert what_would_change({}, _CALL, default_allow=False) == (
        "`mesh intention allow web api` would allow it",
    )


def test_a_deleted_intention_names_its_heir() -> None:
    held = grouped((Intention("web", "api", Action.DENY), Intention("*", "api", Action.ALLOW)))

    assert what_would_change(held, _CALL, default_allow=False) == (
        "`mesh intention allow web api` would allow it",
        "`mesh intention delete web api` would allow it: * → api would decide",
    )


def test_a_missing_token_is_asked_for() -> None:
    need = JwtRequirement("okta", (ClaimMatch(("perms", "role"), "admin"),))
    held = grouped((Intention("web", "api", Action.ALLOW, jwt=(need,)),))

    assert what_would_change(held, _CALL, default_allow=False) == (
        "A request with a token of okta where perms.role = admin would pass that requirement",
    )


def test_permissions_on_tcp_want_a_protocol() -> None:
    reads = Permission(Action.ALLOW, PathMatch(PathMatchKind.PREFIX, "/"))
    held = grouped((Intention("web", "api", permissions=(reads,)),))

    advice = what_would_change(held, Call("web", "api", Protocol.TCP), default_allow=False)

    assert advice[0].startswith("Protocol = http in the service-defaults of api")
    assert advice[1].endswith("would allow every request, in place of its permissions")


def test_a_conditional_verdict_asks_for_the_request() -> None:
    reads = Permission(Action.ALLOW, PathMatch(PathMatchKind.PREFIX, "/a"))
    held = grouped((Intention("web", "api", permissions=(reads,)),))

    advice = what_would_change(held, Call("web", "api", Protocol.HTTP), default_allow=False)

    assert advice[0] == "`mesh explain web api --method GET --path /` would tell of one request"
    assert len(advice) == 3


@given(l7_intentions(), requests, st.booleans())
def test_every_command_offered_turns_the_verdict(
    intentions: tuple[Intention, ...],
    call: Call,
    default_allow: bool,  # noqa: FBT001 - drawn
) -> None:
    held = grouped(intentions)
    before = judge(held, call, default_allow=default_allow)

    for sentence in what_would_change(held, call, default_allow=default_allow):
        for verb, source, destination in _COMMAND.findall(sentence):
            if verb == "delete":
                after = without(held, source, destination)
            else:
                after = with_action(held, source, destination, Action(verb))
            assert judge(after, call, default_allow=default_allow).allowed is not before.allowed
