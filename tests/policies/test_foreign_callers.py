"""Callers of a peer: only what names the peer lets them in, whatever else is said."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st

from mesh.envoy import jwt
from mesh.model import callers
from mesh.model.identity import WorkloadId
from mesh.model.intentions import Action, Intention, JwtProvider
from mesh.model.names import InvalidNameError
from mesh.model.services import Protocol
from mesh.policies.intentions import Call, Scope, authorize, judge, validate
from mesh.policies.intentions.paths import normalise
from mesh.policies.intentions.peers import admitted
from tests.policies.evaluator import Request, allows
from tests.policies.strategies import ISSUERS, SERVICES, grouped, l7_intentions, requests

_OURS, _THEIRS = "td.example", "partner.example"
_PEERS = {"partner": _THEIRS}
_PROVIDERS = {name: JwtProvider(name, issuer, jwks="{}") for name, issuer in ISSUERS.items()}
_EVERYBODY = Intention("*", "*", Action.ALLOW)


def _foreign(intention: Intention) -> Intention:
    return replace(intention, source=f"{intention.source}@partner")


_both = st.tuples(l7_intentions(), l7_intentions()).map(
    lambda found: (*found[0], *(_foreign(one) for one in found[1] if one.destination != "*"))
)


def _scope(protocol: Protocol, *, default_allow: bool) -> Scope:
    return Scope(_OURS, protocol, default_allow, _PROVIDERS, lambda one: one.name, _PEERS)


def _identity(source: str, zone: str = "") -> str:
    service, peer = callers.split(source)
    domain = _PEERS.get(peer, _OURS) if peer else _OURS
    return WorkloadId(domain, zone or peer or "dc1", service).uri


def _request(call: Call, zone: str = "") -> Request:
    payloads = {
        f"jwt_payload_{provider}": {"iss": ISSUERS[provider], **claims}
        for provider, claims in call.claims.items()
    }
    target, question, query = call.path.partition("?")
    headers = {name.lower(): value for name, value in call.headers.items()}
    headers |= {":method": call.method, ":path": normalise(target) + question + query}
    return Request(_identity(call.source, zone), headers, {jwt.JWT_AUTHN: payloads})


@settings(max_examples=600, deadline=None)
@given(_both, requests, st.booleans(), st.booleans())
def test_the_filters_decide_as_the_verdict_does(
    intentions: tuple[Intention, ...],
    call: Call,
    foreign: bool,  # noqa: FBT001 - drawn
    default_allow: bool,  # noqa: FBT001 - drawn
) -> None:
    held = grouped(intentions)
    call = replace(call, source=f"{call.source}@partner") if foreign else call
    filters = authorize(held, "api", _scope(call.protocol, default_allow=default_allow))
    verdict = judge(held, call, default_allow=default_allow)
    chosen = filters.http if filters.network is None else filters.network
    assert allows(chosen.rules, _request(call)) is verdict.allowed, verdict
    event(f"{'foreign' if foreign else 'own'} {verdict.allowed}")
    # A zone of theirs that is no peer, and a domain that is nobody's, get nothing.
    if foreign:
        assert not allows(chosen.rules, _request(call, zone="elsewhere"))
    unknown = Request(WorkloadId("unknown.example", "partner", "web").uri)
    assert not allows(chosen.rules, unknown)


@settings(max_examples=300, deadline=None)
@given(_both, st.sampled_from(SERVICES), st.sampled_from(Protocol), st.booleans())
def test_the_handshake_admits_whom_some_call_could_be_allowed(
    intentions: tuple[Intention, ...],
    service: str,
    protocol: Protocol,
    default_allow: bool,  # noqa: FBT001 - drawn
) -> None:
    held = grouped(intentions)
    for peer in ("", "partner"):
        source = callers.joined(service, peer)
        verdict = judge(held, Call(source, "api", protocol), default_allow=default_allow)
        found = admitted(held, "api", protocol, default_allow=default_allow, peer=peer)
        assert (service in found) is (verdict.allowed or verdict.conditional)
        expression = found.identity_regex(_PEERS.get(peer, _OURS), peer)
        matched = re.fullmatch(expression, _identity(source)) is not None
        assert matched is (service in found)
        assert re.fullmatch(expression, _identity(source, "elsewhere")) is None or not peer


@pytest.mark.parametrize("default_allow", [False, True])
@pytest.mark.parametrize("held", [(), (_EVERYBODY,), (Intention("web", "api", Action.ALLOW),)])
def test_what_is_said_of_our_own_lets_no_peer_in(
    held: tuple[Intention, ...],
    default_allow: bool,  # noqa: FBT001 - parametrised
) -> None:
    call = Call("web@partner", "api", Protocol.TCP)
    verdict = judge(grouped(held), call, default_allow=default_allow)
    assert not verdict.allowed
    assert "partner is a peer" in verdict.reason


@pytest.mark.parametrize("source", ["web@partner", "*@partner"])
def test_what_names_the_peer_lets_none_of_our_own_in(source: str) -> None:
    held = grouped((Intention(source, "api", Action.ALLOW),))
    assert judge(held, Call("web@partner", "api", Protocol.TCP), default_allow=False).allowed
    for other in ("web", "web@other", "web@partner2"):
        assert not judge(held, Call(other, "api", Protocol.TCP), default_allow=False).allowed


def test_a_peers_callers_are_let_in_service_by_service() -> None:
    (found,) = validate(Intention("web@partner", "*", Action.ALLOW))
    assert "service by service" in found.message


@pytest.mark.parametrize("name", ["web@", "@partner", "we b@partner", "web@Partner", "a@b@c", "*@"])
def test_names_that_no_caller_can_have_are_refused(name: str) -> None:
    with pytest.raises(InvalidNameError):
        callers.checked(name)
