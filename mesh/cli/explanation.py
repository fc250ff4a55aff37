"""A verdict in words: for ``mesh explain`` and ``mesh intention check``.  Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mesh.cli.permissions import describe, jwt_text
from mesh.clients.consul.intention_writer import with_source
from mesh.model import callers
from mesh.model.intentions import Intention
from mesh.model.names import service_name
from mesh.model.violations import Report
from mesh.policies.intentions import Call, Verdict, judge, what_would_change
from mesh.world.snapshot import World


@dataclass(frozen=True, slots=True)
class Request:
    """The arguments that describe a call, as they were typed; headers are ``name=value``."""

    source: str
    destination: str
    method: str = ""
    path: str = ""
    headers: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Explanation:
    """A call, what becomes of it, and what would change that."""

    call: Call
    verdict: Verdict
    default_allow: bool
    changes: tuple[str, ...]

    @property
    def word(self) -> str:
        """The verdict in one word, or four."""
        if self.verdict.conditional:
            return "depends on the request"
        return "allowed" if self.verdict.allowed else "denied"


def explain(world: World, call: Call) -> Explanation:
    """Judge ``call`` in ``world``."""
    allow = world.default_allow
    return Explanation(
        call,
        judge(world.intentions, call, default_allow=allow),
        allow,
        what_would_change(world.intentions, call, default_allow=allow),
    )


def read_call(world: World, request: Request) -> Call:
    """Return the call that the arguments describe.

    Raises:
        InvalidInputError: with everything that is wrong with them.

    """
    report = Report("the call")
    for place, name, check in (
        ("SRC", request.source, callers.checked),
        ("DST", request.destination, service_name),
    ):
        try:
            check(name)
            service_name(callers.split(name)[0])
        except ValueError as error:
            report.add(place, str(error))
    if request.path and not request.path.startswith("/"):
        report.add("--path", f"must begin with '/': {request.path!r}")
    given: dict[str, str] = {}
    for header in request.headers:
        name, equals, value = header.partition("=")
        if not name or not equals:
            report.add("--header", f"{header!r}: write name=value")
        # What is sent twice reaches a rule joined by commas.
        given[name.lower()] = f"{given[name.lower()]},{value}" if name.lower() in given else value
    report.close()
    protocol = world.protocol(request.destination)
    return Call(
        request.source, request.destination, protocol, request.method.upper(), request.path, given
    )


def lines(explanation: Explanation) -> list[str]:
    """Write an explanation for people."""
    call, verdict = explanation.call, explanation.verdict
    said = [f"{_call_text(call)}: {explanation.word.upper()}", f"  {verdict.reason}"]
    if verdict.decided_by is not None:
        said += ["", "Decided by:", *_intention(verdict.decided_by, verdict.permission_index)]
    if verdict.overridden:
        said += ["", "Overridden:"]
        said += [line for each in verdict.overridden for line in _intention(each, None)]
    default = "allow" if explanation.default_allow else "deny"
    said += ["", f"{call.destination} speaks {call.protocol}; the default policy is {default}."]
    if explanation.changes:
        said += ["", "What would change it:", *(f"  - {each}." for each in explanation.changes)]
    return said


def text(answer: Mapping[str, Any]) -> list[str]:
    """Write the verdict in a zone's answer for people."""
    word = "depends on the request" if answer["depends_on_request"] else "denied"
    if answer["allowed"]:
        word = "allowed"
    said = [f"{answer['source']} → {answer['destination']}: {word.upper()}"]
    said.append(f"  {answer['reason']}")
    if answer["decided_by"]:
        said += ["", "Decided by:", _told(answer["decided_by"])]
    if answer["overridden"]:
        said += ["", "Overridden:", *map(_told, answer["overridden"])]
    default = f"the default policy is {answer['default']}"
    said += ["", f"{answer['destination']} speaks {answer['protocol']}; {default}."]
    if answer["what_would_change_it"]:
        said += ["", "What would change it:"]
        said += [f"  - {each}." for each in answer["what_would_change_it"]]
    return said


def _told(intention: Mapping[str, Any]) -> str:
    pair = f"{intention['source']} → {intention['destination']}"
    described = f"  {intention['description']!r}" if intention["description"] else ""
    return f"  {pair}  {intention['action']}  (precedence {intention['precedence']}){described}"


def document(explanation: Explanation) -> dict[str, Any]:
    """Write an explanation for programs."""
    call, verdict = explanation.call, explanation.verdict
    return {
        "source": call.source,
        "destination": call.destination,
        "protocol": call.protocol.value,
        "request": {"method": call.method, "path": call.path, "headers": dict(call.headers)}
        if call.is_request or call.headers
        else None,
        "allowed": verdict.allowed,
        "conditional": verdict.conditional,
        "reason": verdict.reason,
        "decided_by": intention_document(verdict.decided_by) if verdict.decided_by else None,
        "permission": verdict.permission_index,
        "overridden": [intention_document(each) for each in verdict.overridden],
        "default": "allow" if explanation.default_allow else "deny",
        "what_would_change": list(explanation.changes),
    }


def intention_document(intention: Intention) -> Mapping[str, Any]:
    """Write an intention for programs: ``permissions`` in Consul's words, ``rules`` in ours."""
    (entry,) = with_source(None, intention)["Sources"]
    return {
        "source": intention.source,
        "destination": intention.destination,
        "action": intention.action.value if intention.action else None,
        "permissions": entry.get("Permissions", []),
        "rules": [describe(each) for each in intention.permissions],
        "jwt": jwt_text(intention.jwt) or None,
        "precedence": intention.precedence,
        "description": intention.description,
    }


def _call_text(call: Call) -> str:
    request = " ".join(filter(None, (call.method, call.path)))
    return f"{call.source} → {call.destination}" + (f" {request}" if request else "")


def _intention(intention: Intention, decisive: int | None) -> list[str]:
    action = intention.action or f"{len(intention.permissions)} permissions"
    said = [f"  {intention.label}  {action}  (precedence {intention.precedence})"]
    if intention.description:
        said[0] += f"  {intention.description!r}"
    if intention.jwt:
        said.append(f"      requires jwt {jwt_text(intention.jwt)}")
    for index, permission in enumerate(intention.permissions):
        mark = ">" if index == decisive else " "
        said.append(f"    {mark} {index + 1}. {describe(permission)}")
    return said
