"""What an operator can do to turn a verdict round.

Each command is tried on the intentions first and offered only if it turns the verdict.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from mesh.model.intentions import Action, Intention, IntentionsByDestination, JwtRequirement
from mesh.model.services import Protocol
from mesh.policies.intentions.matching import Call, token_suffices
from mesh.policies.intentions.verdict import Verdict, judge


def what_would_change(
    intentions: IntentionsByDestination, call: Call, *, default_allow: bool
) -> tuple[str, ...]:
    """Return sentences, the gentlest change first, that would each turn the verdict."""
    verdict = judge(intentions, call, default_allow=default_allow)
    tried = (
        _describe_request(verdict, call),
        _send_token(verdict, call),
        _declare_http(intentions, call, default_allow=default_allow),
        *_state(intentions, call, verdict, default_allow=default_allow),
        _delete(intentions, call, verdict, default_allow=default_allow),
    )
    return tuple(sentence for sentence in tried if sentence)


def with_action(
    intentions: IntentionsByDestination, source: str, destination: str, action: Action
) -> IntentionsByDestination:
    """Return ``intentions`` after ``mesh intention allow|deny source destination``."""
    entry = intentions.get(destination, ())
    others = tuple(intention for intention in entry if intention.source != source)
    # What the destination's entry requires of tokens holds for each of its sources.
    required = entry[0].jwt if entry else ()
    stated = Intention(source, destination, action, jwt=required)
    return {**intentions, destination: (*others, stated)}


def without(
    intentions: IntentionsByDestination, source: str, destination: str
) -> IntentionsByDestination:
    """Return ``intentions`` after ``mesh intention delete source destination``."""
    entry = intentions.get(destination, ())
    kept = tuple(intention for intention in entry if intention.source != source)
    changed: Mapping[str, tuple[Intention, ...]] = {**intentions, destination: kept}
    return changed


def _state(
    intentions: IntentionsByDestination, call: Call, verdict: Verdict, *, default_allow: bool
) -> tuple[str, ...]:
    wanted = (Action.ALLOW, Action.DENY) if verdict.conditional else (_opposite(verdict),)
    sentences = []
    for action in wanted:
        changed = with_action(intentions, call.source, call.destination, action)
        after = judge(changed, call, default_allow=default_allow)
        if not after.conditional and after.allowed is (action is Action.ALLOW):
            sentence = f"`mesh intention {action} {call.source} {call.destination}` would {action} "
            sentences.append(sentence + _extent(verdict, call))
    return tuple(sentences)


def _extent(verdict: Verdict, call: Call) -> str:
    decisive = verdict.decided_by
    if decisive is None or (decisive.source, decisive.destination) != (
        call.source,
        call.destination,
    ):
        return "it" if decisive is None else f"it, over {decisive.label}"
    return "every request, in place of its permissions" if decisive.permissions else "it"


def _delete(
    intentions: IntentionsByDestination, call: Call, verdict: Verdict, *, default_allow: bool
) -> str:
    decisive = verdict.decided_by
    if decisive is None or verdict.conditional:
        return ""
    changed = without(intentions, decisive.source, decisive.destination)
    after = judge(changed, call, default_allow=default_allow)
    if after.conditional or after.allowed is verdict.allowed:
        return ""
    heir = after.decided_by.label if after.decided_by else "the default policy"
    command = f"`mesh intention delete {decisive.source} {decisive.destination}`"
    return f"{command} would {_opposite(verdict)} it: {heir} would decide"


def _declare_http(intentions: IntentionsByDestination, call: Call, *, default_allow: bool) -> str:
    verdict = judge(intentions, call, default_allow=default_allow)
    if call.protocol.is_http or verdict.decided_by is None or not verdict.decided_by.permissions:
        return ""
    after = judge(intentions, replace(call, protocol=Protocol.HTTP), default_allow=default_allow)
    if not (after.allowed or after.conditional):
        return ""
    return (
        f"Protocol = http in the service-defaults of {call.destination} would make the "
        f"permissions of {verdict.decided_by.label} hold"
    )


def _send_token(verdict: Verdict, call: Call) -> str:
    decisive = verdict.decided_by
    lacking = (
        decisive is not None
        and call.protocol.is_http
        and call.is_request
        and verdict.permission_index is None
        and not verdict.allowed
        and not token_suffices(decisive.jwt, call)
    )
    if decisive is None or not lacking or decisive.action is Action.DENY:
        return ""
    return f"A request with {' or '.join(map(_token, decisive.jwt))} would pass that requirement"


def _token(requirement: JwtRequirement) -> str:
    claims = [f"{'.'.join(claim.path)} = {claim.value}" for claim in requirement.claims]
    where = f" where {' and '.join(claims)}" if claims else ""
    return f"a token of {requirement.provider}{where}"


def _describe_request(verdict: Verdict, call: Call) -> str:
    if not verdict.conditional:
        return ""
    asked = f"`mesh explain {call.source} {call.destination} --method GET --path /`"
    return f"{asked} would tell of one request"


def _opposite(verdict: Verdict) -> Action:
    return Action.DENY if verdict.allowed else Action.ALLOW
