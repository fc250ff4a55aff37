"""What is wrong with policies beyond each document by itself.

Documents are held against the entries of the zone, and against one another as they would meet at
a proxy: references that lead nowhere, routes that overlap, protocols that do not fit, a try that
would outlast its request.  Without a zone at hand (``entries`` None) only what the documents say
themselves is held.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from mesh.model.entries import Entries
from mesh.model.violations import InvalidInputError, Violation
from mesh.policies.document import Document
from mesh.policies.kinds import external_service, http_route, tcp_route
from mesh.policies.merge import in_order
from mesh.policies.registry import KINDS
from mesh.policies.selection import Selection
from mesh.policies.shape import ProxyRef
from mesh.routing.edge_findings import of_document
from mesh.routing.inbound import compile_inbound, is_about_callers
from mesh.routing.outbound import Compiled, compile_traffic
from mesh.routing.rollouts import obstacle
from mesh.world.snapshot import World

Policies = Mapping[tuple[str, str], Document]
Finding = tuple[str, Violation]
"""A document's label, and what is wrong with it."""

_NOBODY: Final = ""
"""A caller without entries of its own."""


def violations(entries: Entries | None, policies: Policies) -> tuple[Finding, ...]:
    """Return everything wrong with ``policies`` in a zone of ``entries``."""
    world = World("", "", entries=entries or Entries(), policies=policies)
    work = _Work(world, zone_known=entries is not None)
    return tuple(dict.fromkeys(work.findings()))


def new_violations(
    entries: Entries | None, before: Policies, after: Policies, changed: Collection[str]
) -> tuple[Finding, ...]:
    """Return what is wrong with the policies ``after`` those labelled ``changed`` were changed.

    What was wrong ``before`` with others stands in nobody's way.
    """
    known = set(violations(entries, before))
    found = violations(entries, after)
    return tuple(each for each in found if each[0] in changed or each not in known)


@dataclass(frozen=True, slots=True)
class _Work:
    world: World
    zone_known: bool

    def findings(self) -> Iterator[Finding]:
        documents = sorted(self.world.policies.values(), key=lambda one: one.key)
        for document in documents:
            yield from self._references(document)
            for index, service in _called(document):
                yield from self._calls(document, index, service)
            if is_about_callers(document):
                yield from self._inbound(document)
            yield from of_document(self.world, document, zone_known=self.zone_known)
            if self.zone_known and (wrong := obstacle(self.world, document)):
                yield document.label, Violation("spec", wrong)
        yield from _overlaps(documents)

    def _references(self, document: Document) -> Iterator[Finding]:
        for index, to in enumerate(getattr(document.spec, "to", ())):
            ref = to.target_ref
            path = f"spec.to[{index}].targetRef.name"
            if ref.kind == http_route.KIND.name and (ref.kind, ref.name) not in self.world.policies:
                yield document.label, Violation(path, f"there is no MeshHTTPRoute {ref.name}")
            outside = (external_service.KIND.name, ref.name) in self.world.policies
            if ref.kind == external_service.KIND.name and not outside:
                yield document.label, Violation(path, f"there is no MeshExternalService {ref.name}")

    def _calls(self, document: Document, index: int, service: str) -> Iterator[Finding]:
        path = f"spec.to[{index}]"
        compiled, others = self._compiled(document, service)
        yield from others
        if compiled.error is not None:
            if self.zone_known:
                for fault in compiled.error.faults:
                    own = fault.entry == document.label
                    yield document.label, Violation(path, str(fault.violation if own else fault))
            return
        traffic = compiled.traffic
        if self.zone_known:
            if document.kind == http_route.KIND.name and not traffic.protocol.is_http:
                message = (
                    f"{service} speaks tcp, which has no requests to route: set Protocol in its "
                    "service-defaults, or use MeshTCPRoute"
                )
                yield document.label, Violation(path, message)
            if document.kind == tcp_route.KIND.name and traffic.protocol.is_http:
                message = f"{service} speaks {traffic.protocol.value}: use MeshHTTPRoute"
                yield document.label, Violation(path, message)
        for route in traffic.routes:
            limit, retry = route.timeouts.request, route.retry
            if retry is not None and retry.per_try and limit and retry.per_try >= limit:
                origin = route.origins.get("MeshRetry.http.perTryTimeout", document.label)
                message = (
                    f"a try of {retry.per_try:g} s lasts as long as the whole request to "
                    f"{service} may ({limit:g} s): none would follow it"
                )
                yield origin, Violation("spec.to", message)

    def _inbound(self, document: Document) -> Iterator[Finding]:
        service = document.spec.target_ref.labels.get("service", _NOBODY)
        kind = KINDS[document.kind]
        only_requests = kind.on_inbound_route is not None and kind.on_inbound is None
        if self.zone_known and service and only_requests:
            protocol = self.world.protocol(service)
            if not protocol.is_http:
                message = (
                    f"{service} speaks {protocol.value}, of which no request is seen: "
                    "set Protocol in its service-defaults"
                )
                yield document.label, Violation("spec.rules", message)
        try:
            compile_inbound(self.world, self._met_by(document), service)
        except InvalidInputError as error:
            for violation in error.violations:
                yield document.label, violation

    def _compiled(self, document: Document, service: str) -> tuple[Compiled, list[Finding]]:
        """Compose ``document`` with those that it meets, but for the broken ones among them.

        What such a one is to blame for is said of it and of no other.
        """
        found: list[Finding] = []
        broken: set[str] = set()
        while True:
            met = self._met_by(document, broken)
            compiled = compile_traffic(self.world, met, _NOBODY, service)
            faults = compiled.error.faults if compiled.error is not None else ()
            blamed = {one.entry: one for one in faults if one.entry != document.label}
            culprits = [one for one in self.world.policies.values() if one.label in blamed]
            if not culprits or broken.issuperset(blamed):
                return compiled, found
            for one in culprits:
                broken.add(one.label)
                if self.zone_known and service not in dict(_called(one)).values():
                    found.append((one.label, Violation("spec", str(blamed[one.label].violation))))

    def _met_by(self, document: Document, without: Collection[str] = ()) -> Selection:
        """Return the policies that concern every proxy that ``document`` does."""
        ref = document.spec.target_ref
        met = (one for one in self.world.policies.values() if _includes(one.spec.target_ref, ref))
        return Selection(in_order(one for one in met if one.label not in without))


def _includes(wide: ProxyRef, narrow: ProxyRef) -> bool:
    if wide.name or narrow.name:
        return wide == narrow or wide.kind == "Mesh"
    return wide.labels.items() <= narrow.labels.items()


def _called(document: Document) -> Iterator[tuple[int, str]]:
    if document.kind in KINDS:
        for index, to in enumerate(getattr(document.spec, "to", ())):
            if to.target_ref.kind in {"MeshService", "MeshExternalService"}:
                yield index, to.target_ref.name


def _overlaps(documents: list[Document]) -> Iterator[Finding]:
    """Yield routes of which nothing but their documents' names says which of them holds."""
    found: dict[object, Document] = {}
    for document in documents:
        if document.kind != http_route.KIND.name:
            continue
        ref = document.spec.target_ref
        proxies = (ref.name, tuple(sorted(ref.labels.items())))
        for index, service in _called(document):
            for route in http_route.routes(document, service):
                earlier = found.setdefault((proxies, service, route.match), document)
                if earlier is not document:
                    message = (
                        f"{earlier.label} routes the same requests of the same proxies to {service}"
                    )
                    yield document.label, Violation(f"spec.to[{index}]", message)
