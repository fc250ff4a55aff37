"""Configurations that an Envoy can be asked about, from resources that would be sent.  Pure.

Envoy refuses a resource when it takes it; only a configuration that holds everything itself is
refused beforehand.  So what comes over ADS is put in its place: endpoints into clusters, routes
into HTTP managers, discovered filters and validation contexts into listeners.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from google.protobuf import json_format

from mesh.controlplane.dryrun.difference import renewed
from mesh.controlplane.dryrun.forecast import Changed
from mesh.envoy.resource import (
    CLUSTER,
    ENDPOINTS,
    EXTENSION,
    LISTENER,
    ROUTE,
    SECRET,
    Resource,
    Snapshot,
    unpack,
)
from mesh.envoy.runtime import RUNTIME

Json = dict[str, Any]

_CONTEXT: Final = "validation_context_sds_secret_config"
_REFERRED: Final = (ROUTE, EXTENSION, SECRET)
LARGEST_BATCH: Final = 200
"""Pieces in a batch that several proxies share."""


@dataclass(frozen=True, slots=True)
class Piece:
    """Resources that ``proxy`` would be sent, among what else it would have."""

    proxy: str
    resources: tuple[Resource, ...]
    snapshot: Snapshot


@dataclass(frozen=True, slots=True)
class Batch:
    """What one Envoy is asked about together; no two pieces disagree about a name."""

    pieces: tuple[Piece, ...]

    @property
    def count(self) -> int:
        """How many resources it is about."""
        return sum(len(piece.resources) for piece in self.pieces)

    def halves(self) -> tuple[Batch, Batch]:
        """Return two batches with half of the resources each."""
        each = [
            Piece(piece.proxy, (resource,), piece.snapshot)
            for piece in self.pieces
            for resource in piece.resources
        ]
        middle = len(each) // 2
        return Batch(tuple(each[:middle])), Batch(tuple(each[middle:]))


def batches(changed: Iterable[Changed]) -> tuple[Batch, ...]:
    """Return batches in which each resource that would change is once.

    Clusters need nothing but their endpoints, so those of many proxies share batches; what a
    listener is made of is in a batch of its proxy.
    """
    seen: set[tuple[str, str, str]] = set()
    shared: list[_Shared] = []
    found: list[Batch] = []
    for each in changed:
        rest = []
        for resource in renewed(each.before, each.after):
            key = (resource.type_url, resource.name, resource.version)
            if key in seen:
                continue
            seen.add(key)
            if resource.type_url in {CLUSTER, ENDPOINTS}:
                piece = _piece(each, resource)
                if not any(one.takes(piece) for one in shared):
                    shared.append(_Shared())
                    shared[-1].takes(piece)
            else:
                rest.append(resource)
        if rest:
            found.append(Batch((Piece(each.proxy.id, tuple(rest), each.after),)))
    return (*(Batch(tuple(one.pieces)) for one in shared), *found)


def bootstrap(batch: Batch, refused: Collection[Resource] = ()) -> Json:
    """Return a bootstrap with the batch's resources, and with what they cannot be without.

    What was ``refused`` before is not put beside others, or they would be refused for it.
    """
    listeners: dict[str, Json] = {}
    clusters: dict[str, Json] = {}
    for piece in batch.pieces:
        _Writing(piece.snapshot, refused).write(piece.resources, listeners, clusters)
    return {
        "node": {"id": "dry-run", "cluster": "dry-run"},
        "layered_runtime": {"layers": [{"name": "mesh", "static_layer": dict(RUNTIME)}]},
        "static_resources": {
            "listeners": list(listeners.values()),
            "clusters": list(clusters.values()),
        },
    }


class _Shared:
    """A batch of clusters that grows."""

    def __init__(self) -> None:
        self.pieces: list[Piece] = []
        self._versions: dict[tuple[str, str], str] = {}

    def takes(self, piece: Piece) -> bool:
        """Add ``piece``, unless another of a name stands here already; say whether."""
        if len(self.pieces) >= LARGEST_BATCH:
            return False
        parts = {
            (part.type_url, part.name): part.version
            for parts in piece.snapshot.values()
            for part in parts
        }
        if any(self._versions.get(name, version) != version for name, version in parts.items()):
            return False
        self._versions |= parts
        self.pieces.append(piece)
        return True


def _piece(changed: Changed, resource: Resource) -> Piece:
    """Return a piece of a cluster, or its endpoints, with the other of the two."""
    context = {
        type_url: tuple(one for one in changed.after[type_url] if one.name == resource.name)
        for type_url in (CLUSTER, ENDPOINTS)
    }
    return Piece(changed.proxy.id, (resource,), context)


class _Writing:
    """One bootstrap from the resources of one proxy."""

    def __init__(self, snapshot: Snapshot, refused: Collection[Resource]) -> None:
        self._snapshot = snapshot
        self._refused = {(one.type_url, one.name) for one in refused}
        self._parts = {
            type_url: {one.name: one for one in snapshot.get(type_url, ())}
            for type_url in (CLUSTER, ENDPOINTS, *_REFERRED)
        }

    def write(
        self, wanted: Sequence[Resource], listeners: dict[str, Json], clusters: dict[str, Json]
    ) -> None:
        """Write ``wanted``, and what they cannot be without."""
        names = {
            type_url: {one.name for one in wanted if one.type_url == type_url}
            for type_url in (CLUSTER, ENDPOINTS, LISTENER, *_REFERRED)
        }
        referred = set[str]().union(*(names[type_url] for type_url in _REFERRED))
        found: list[Json] = []
        for resource in self._snapshot.get(LISTENER, ()):
            written = _written(resource)
            beside = (LISTENER, resource.name) not in self._refused and referred & _texts(written)
            if resource.name in names[LISTENER] or beside:
                found.append(self._inlined(written))
        listeners.update((each["name"], each) for each in found)
        # A filter may call a cluster itself, and refuse one that is not there.
        called = names[CLUSTER] | names[ENDPOINTS] | _texts(found)
        clusters.update(
            (name, self._with_endpoints(_written(resource)))
            for name, resource in self._parts[CLUSTER].items()
            if name in names[CLUSTER] or (name in called and (CLUSTER, name) not in self._refused)
        )

    def _with_endpoints(self, cluster: Json) -> Json:
        if cluster.get("type") != "EDS":
            return cluster
        name = cluster.get("eds_cluster_config", {}).get("service_name") or cluster["name"]
        found = self._parts[ENDPOINTS].get(name)
        assignment = _written(found) if found is not None else {"cluster_name": name}
        rest = {key: value for key, value in cluster.items() if key != "eds_cluster_config"}
        return {**rest, "type": "STATIC", "load_assignment": assignment}

    def _inlined(self, value: Any) -> Any:
        if isinstance(value, list):
            return [self._inlined(each) for each in value]
        if not isinstance(value, Mapping):
            return value
        result = dict(value)
        if "rds" in result:
            name = result.pop("rds").get("route_config_name", "")
            result["route_config"] = self._part(ROUTE, name) or {"name": name}
        if "config_discovery" in result:
            del result["config_discovery"]
            extension = self._part(EXTENSION, str(result.get("name")))
            result["typed_config"] = extension.get("typed_config", {})
        if "ads" in result.get(_CONTEXT, {}).get("sds_config", {}):
            secret = self._part(SECRET, result.pop(_CONTEXT)["name"])
            result["validation_context"] = secret.get("validation_context", {})
        return {key: self._inlined(each) for key, each in result.items()}

    def _part(self, type_url: str, name: str) -> Json:
        found = self._parts[type_url].get(name)
        return _written(found) if found is not None else {}


def _written(resource: Resource) -> Json:
    found: Json = json_format.MessageToDict(unpack(resource), preserving_proto_field_name=True)
    return found


def _texts(value: object) -> set[str]:
    """Return every text that stands somewhere in ``value``."""
    found: set[str] = set()
    waiting = [value]
    while waiting:
        each = waiting.pop()
        if isinstance(each, str):
            found.add(each)
        elif isinstance(each, Mapping):
            waiting += each.values()
        elif isinstance(each, list):
            waiting += each
    return found
