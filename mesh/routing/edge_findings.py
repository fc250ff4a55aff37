"""What is wrong with what edge gateways shall serve, beyond each document by itself."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from mesh.model.edge import EdgeListener, EdgeProtocol
from mesh.model.violations import Violation
from mesh.policies.document import Document
from mesh.policies.kinds import external_service, gateway
from mesh.policies.merge import in_order
from mesh.policies.selection import Selection
from mesh.routing.edge import ENTRY, served
from mesh.world.snapshot import World

Finding = tuple[str, Violation]
"""A document's or an entry's label, and what is wrong with it."""

_SERVICE: Final = "service"


def standing(world: World) -> Iterator[Finding]:
    """Yield what is wrong with what the gateways of ``world`` serve now."""
    names = set(world.entries.edges)
    documents = [one for one in world.policies.values() if one.kind == gateway.KIND.name]
    names |= {one.spec.target_ref.labels.get(_SERVICE, "") for one in documents} - {""}
    for name in sorted(names):
        found = Selection(in_order(one for one in documents if _selects(world, one, name)))
        yield from of_gateway(world, found, name)
        yield from _overridden(world, found, name)


def of_document(world: World, document: Document, *, zone_known: bool) -> Iterator[Finding]:
    """Yield what is wrong with ``document``, a MeshGateway, among the others of its mesh."""
    if document.kind != gateway.KIND.name:
        return
    ports = {one.port for one in gateway.listeners(document)}
    for other in sorted(world.policies.values(), key=lambda one: one.key):
        if other.kind != document.kind or other.name >= document.name:
            continue
        same = sorted(ports & {one.port for one in gateway.listeners(other)})
        if same and other.spec.target_ref == document.spec.target_ref:
            message = f"{other.label} says what the same gateways serve on port {_listed(same)}"
            yield document.label, Violation("spec.listeners", message)
    if not zone_known:
        return
    named = document.spec.target_ref.labels.get(_SERVICE)
    for name in [named] if named else sorted(world.entries.edges) or [""]:
        for label, violation in of_gateway(world, Selection((document,)), name):
            if label == document.label:
                yield label, violation


def of_gateway(world: World, said: Selection, name: str) -> Iterator[Finding]:
    """Yield what of the gateways called ``name`` cannot be served as it is said."""
    for listener in served(world, said, name).listeners:
        label = listener.origins[-1]
        for message in _wrong(world, listener):
            yield label, Violation(f"listener {listener.port}", message)


def _wrong(world: World, listener: EdgeListener) -> Iterator[str]:
    if listener.protocol is EdgeProtocol.HTTPS and listener.tls is None:
        yield (
            "has TLS and no certificate, so that it is closed: "
            "say in a MeshGateway where in Vault it is"
        )
    if not listener.services and not listener.https_port:
        yield "serves nothing: give routes, or services in an ingress-gateway entry"
    for one in listener.services:
        outside = world.policies.get((external_service.KIND.name, one.service))
        if outside is None and world.catalog and one.service not in world.catalog:
            yield f"there is no service {one.service}"
            continue
        protocol = world.protocol(one.service)
        if outside is not None:
            protocol = external_service.external(outside)[1]
        if protocol.is_http is not listener.protocol.is_http:
            yield (
                f"{one.service} speaks {protocol.value}, which a listener of protocol "
                f"{listener.protocol.value} cannot carry: set Protocol in its service-defaults"
            )


def _overridden(world: World, said: Selection, name: str) -> Iterator[Finding]:
    entry = world.entries.edges.get(name)
    ports = {one.port for one in entry.listeners} if entry is not None else set()
    for document in said.documents:
        both = sorted(ports & {one.port for one in gateway.listeners(document)})
        for port in both:
            message = f"gives way to {document.label}, which speaks of the same port"
            yield f"{ENTRY} {name}", Violation(f"listener {port}", message)


def _selects(world: World, document: Document, name: str) -> bool:
    ref = document.spec.target_ref
    # A proxy's own labels are not known here: those that every proxy has must do.
    return not ref.name and ref.selects("", {_SERVICE: name, "zone": world.zone})


def _listed(ports: list[int]) -> str:
    return ", ".join(map(str, ports))
