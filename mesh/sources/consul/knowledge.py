"""What has been learned from Consul, turned into changes.

Each method takes one whole answer and emits a change only if it says something new; its twin
``empties_…`` says beforehand whether the answer would leave nothing where there was something.
No I/O, and no time.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from mesh.clients.consul import HealthEntry
from mesh.clients.consul.intention_entries import KIND as SERVICE_INTENTIONS
from mesh.clients.consul.intention_entries import parse_entry, parse_legacy
from mesh.model import callers
from mesh.model.entries import Entries, ProxyDefaults
from mesh.model.intentions import Action, Intention
from mesh.model.names import (
    OUTSIDE,
    SIDECAR_SUFFIX,
    WILDCARD,
    ZONE_EGRESS,
    InvalidNameError,
    service_name,
)
from mesh.model.services import Instance
from mesh.model.violations import Violation
from mesh.policies.kind import Kind
from mesh.sources.consul import entries, instances, jwt
from mesh.sources.consul.problems import LastGood, Problem, Problems, Raw
from mesh.sources.consul.stored import StoredKnowledge
from mesh.world.changes import (
    CatalogChanged,
    Change,
    ConfigEntriesChanged,
    DefaultPolicyChanged,
    InstancesChanged,
    InstancesForgotten,
    IntentionsChanged,
)

CONSUL = "consul"

RawEntries = tuple[dict[str, Any], ...]

_KNOWN_KINDS = entries.UNUSED_KINDS | {
    SERVICE_INTENTIONS,
    entries.SERVICE_DEFAULTS,
    entries.PROXY_DEFAULTS,
    entries.SERVICE_ROUTER,
    entries.SERVICE_SPLITTER,
    entries.SERVICE_RESOLVER,
    entries.INGRESS_GATEWAY,
    entries.TERMINATING_GATEWAY,
    jwt.KIND,
}


class Knowledge(StoredKnowledge):
    """The last of everything that was emitted, and how to say what differs."""

    def __init__(
        self,
        emit: Callable[[Change], None],
        problems: Problems,
        kinds: Mapping[str, Kind] | None = None,
    ) -> None:
        """Hand changes to ``emit``, and note what is malformed in ``problems``.

        ``kinds`` are the kinds of policies; without, every kind there is.
        """
        super().__init__(emit, problems, kinds)
        self._problems = problems
        self._instances: dict[str, tuple[Instance, ...]] = {}
        self._catalog: Mapping[str, object] = {}
        self._records: RawEntries = ()
        self._entries: RawEntries = ()
        self._intention_entries = LastGood(
            SERVICE_INTENTIONS,
            parse_entry,
            problems,
            fallback=_closed_entry,
            fallback_words="every call to it is denied until it is mended",
        )
        self._legacy = LastGood(
            "intention",
            parse_legacy,
            problems,
            fallback=_closed_record,
            fallback_words="it counts as a deny until it is mended",
        )
        self._service_defaults = LastGood(
            entries.SERVICE_DEFAULTS,
            entries.parse_service_defaults,
            problems,
            fallback=entries.protocol_only,
            fallback_words="only its protocol counts, and tcp if that is malformed",
        )
        self._proxy_defaults = LastGood(
            entries.PROXY_DEFAULTS, entries.parse_proxy_defaults, problems
        )
        self._routers = LastGood(entries.SERVICE_ROUTER, entries.parse_router, problems)
        self._splitters = LastGood(entries.SERVICE_SPLITTER, entries.parse_splitter, problems)
        self._resolvers = LastGood(entries.SERVICE_RESOLVER, entries.parse_resolver, problems)
        self._edges = LastGood(entries.INGRESS_GATEWAY, entries.parse_ingress, problems)
        self._terminating = LastGood(
            entries.TERMINATING_GATEWAY, entries.parse_terminating_gateway, problems
        )
        self._jwt_providers = LastGood(jwt.KIND, jwt.parse_jwt_provider, problems)

    def empties_catalog(self, services: Mapping[str, object]) -> bool:
        """Whether no service would be left."""
        return bool(self._catalog) and not services

    def catalog(self, services: Mapping[str, object]) -> None:
        """Take the names of everything registered."""
        self._catalog = services
        names = (name for name in services if not name.endswith(SIDECAR_SUFFIX) and name != CONSUL)
        self._say(CatalogChanged(frozenset(filter(_is_name, names))))

    def empties_instances(self, service: str, answer: tuple[HealthEntry, ...]) -> bool:
        """Whether no instance of ``service`` would be left."""
        return not answer and bool(self._instances.get(service))

    def instances(self, service: str, answer: tuple[HealthEntry, ...]) -> None:
        """Take every sidecar of ``service``."""
        known = self._instances.get(service)
        found, problems = instances.parse_instances(
            service, answer, known or (), named=service.startswith(OUTSIDE)
        )
        self._problems.replace(f"{instances.KIND} {service}", problems)
        if found != known:
            self._instances[service] = found
            self._emit(InstancesChanged(service, found))

    def forget(self, service: str) -> None:
        """Let go of the instances of ``service``, which nobody watches any more."""
        if self._instances.pop(service, None) is not None:
            self._problems.replace(f"{instances.KIND} {service}", ())
            self._emit(InstancesForgotten(service))

    def known_instances(self, service: str) -> tuple[Instance, ...]:
        """Return the instances of ``service`` as last emitted."""
        return self._instances.get(service, ())

    def empties_records(self, records: RawEntries) -> bool:
        """Whether no intention of the legacy dialect would be left."""
        return bool(self._records) and not records

    def records(self, records: RawEntries) -> None:
        """Take every intention of the legacy dialect."""
        self._records = records
        raws = {f"{_pair(raw)[0]} → {_pair(raw)[1]}": raw for raw in records}
        self._say(IntentionsChanged.of(self._legacy.renew(raws).values()))

    def empties_entries(self, found: RawEntries) -> bool:
        """Whether no configuration entry, or no intention among them, would be left."""
        if self._entries and not found:
            return True
        return any(map(_is_intentions, self._entries)) and not any(map(_is_intentions, found))

    def entries(self, found: RawEntries, *, with_intentions: bool) -> None:
        """Take every configuration entry, of all kinds."""
        self._entries = found
        by_kind: dict[str, dict[str, Raw]] = {}
        for raw in found:
            by_kind.setdefault(str(raw.get("Kind", "")), {})[_name(raw)] = raw
        if with_intentions:
            self._legacy.renew({})
            read = self._intention_entries.renew(by_kind.get(SERVICE_INTENTIONS, {}))
            # An entry is all that is said of its destination; unread ones stay the same object.
            self._say(IntentionsChanged({name: group for name, group in read.items() if group}))
        self._unknown_kinds(by_kind)
        self._say(
            ConfigEntriesChanged(
                self._traffic(by_kind), self._jwt_providers.renew(by_kind.get(jwt.KIND, {}))
            )
        )

    def default_policy(self, *, allow: bool) -> None:
        """Take what happens to a call that no intention matches."""
        self._say(DefaultPolicyChanged(allow))

    @property
    def knows_default_policy(self) -> bool:
        """Whether it was ever learned."""
        return DefaultPolicyChanged in self._said

    def _traffic(self, by_kind: Mapping[str, Mapping[str, Raw]]) -> Entries:
        proxy_defaults = self._proxy_defaults.renew(by_kind.get(entries.PROXY_DEFAULTS, {}))
        return Entries(
            self._service_defaults.renew(by_kind.get(entries.SERVICE_DEFAULTS, {})),
            proxy_defaults.get("global", ProxyDefaults()),
            self._routers.renew(by_kind.get(entries.SERVICE_ROUTER, {})),
            self._splitters.renew(by_kind.get(entries.SERVICE_SPLITTER, {})),
            self._resolvers.renew(by_kind.get(entries.SERVICE_RESOLVER, {})),
            self._edges.renew(by_kind.get(entries.INGRESS_GATEWAY, {})),
            self._terminating.renew(by_kind.get(entries.TERMINATING_GATEWAY, {})).get(
                ZONE_EGRESS, {}
            ),
        )

    def _unknown_kinds(self, by_kind: Mapping[str, Mapping[str, Raw]]) -> None:
        violations = (Violation("Kind", "is no kind that Consul or the mesh knows"),)
        self._problems.replace(
            "kind",
            (
                Problem(kind, name, violations, "it is left out")
                for kind in by_kind.keys() - _KNOWN_KINDS
                for name in by_kind[kind]
            ),
        )


def _name(raw: Raw) -> str:
    return str(raw.get("Name", ""))


def _pair(raw: Raw) -> tuple[str, str]:
    return str(raw.get("SourceName", "")), str(raw.get("DestinationName", ""))


def _is_name(name: str) -> bool:
    try:
        service_name(name)
    except InvalidNameError:
        return False
    return True


def _is_intentions(raw: Raw) -> bool:
    return raw.get("Kind") == SERVICE_INTENTIONS


def _is_party(name: str) -> bool:
    return name == WILDCARD or _is_name(name)


def _is_source(name: str) -> bool:
    try:
        callers.checked(name)
    except InvalidNameError:
        return False
    return True


def _closed_entry(raw: Raw) -> tuple[Intention, ...] | None:
    # Nothing good is known of the destination: a default of allow must not open what a person
    # meant to restrict.
    destination = _name(raw)
    if not _is_party(destination):
        return None
    return (Intention(WILDCARD, destination, Action.DENY),)


def _closed_record(raw: Raw) -> Intention | None:
    source, destination = _pair(raw)
    if source.startswith(callers.AT):
        source = WILDCARD + source
    if not (_is_source(source) and _is_party(destination)):
        return None
    return Intention(source, destination, Action.DENY)
