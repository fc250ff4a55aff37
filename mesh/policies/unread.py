"""What stands in for a policy that cannot be read and guards something.

A document may be corrupt, or written by a newer release whose fields this one does not know.  A
kind that guards its proxies says what holds there meanwhile (``Kind.closing``); of the document
nothing but whom it selects is needed for that.  Where that is unclear the stand-in concerns more
proxies rather than fewer: what is not known of a choice can only have narrowed it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from mesh.model.inbound import PLAIN_INBOUND, InboundTraffic
from mesh.model.services import Protocol
from mesh.policies.document import Document
from mesh.policies.kind import Closing
from mesh.policies.shape import EVERY_PROXY, ProxyRef
from mesh.policies.spec import Spec


class Unread(Spec):
    """A ``spec`` of which only the ``targetRef`` is known."""


def stand_in(kind: str, name: str, mesh: str, raw: object) -> Document:
    """Return what stands in for the document ``raw`` (decoded as far as it could be)."""
    chosen = _chosen(raw)
    ref = chosen.model_dump(mode="json", by_alias=True, exclude_unset=True)
    text = json.dumps({"type": kind, "name": name, "mesh": mesh, "unread": ref}, sort_keys=True)
    return Document(kind, name, mesh, text, Unread.model_validate({"targetRef": chosen}))


def refuse(inbound: InboundTraffic, protocol: Protocol, label: str) -> InboundTraffic:
    """Refuse every request; connections of which no policy sees requests are not concerned."""
    if not protocol.is_http:
        return inbound
    why = (
        f"mesh: {label} cannot be read, and says who may call. Until it is mended no request "
        "is let through: `mesh check` tells what is wrong with it.\n"
    )
    origins = {label.partition(" ")[0]: label}
    return replace(inbound, routes=(replace(PLAIN_INBOUND, refusal=why, origins=origins),))


REFUSAL: Final = Closing(refuse, "the HTTP proxies that it selects refuse every request meanwhile")


def _chosen(raw: object) -> ProxyRef:
    spec = raw.get("spec") if isinstance(raw, Mapping) else None
    ref = spec.get("targetRef") if isinstance(spec, Mapping) else None
    if not isinstance(ref, Mapping) or ref.get("kind") != "Dataplane":
        return EVERY_PROXY
    name, labels = ref.get("name"), ref.get("labels")
    if name and isinstance(name, str):
        return ProxyRef(kind="Dataplane", name=name) if not labels else EVERY_PROXY
    if name or not isinstance(labels, Mapping):
        return EVERY_PROXY
    known = {key: value for key, value in labels.items() if isinstance(value, str)}
    return ProxyRef(kind="Dataplane", labels=known) if known else EVERY_PROXY
