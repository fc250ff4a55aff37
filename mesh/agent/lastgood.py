"""From what Envoy runs to a bootstrap that needs nobody: the last known good configuration.

Envoy's ``/config_dump?include_eds`` holds what it acknowledged, kind by kind, each part referring
to others by name.  :func:`resources` puts the parts into one another: endpoints into their
clusters, routes into the HTTP managers that asked for them, discovered filters and validation
contexts into their listeners.  Certificates, keys and roots stay references to files: the agent
goes on replacing those.

A configuration with a hole in it is worse than an older one: a filter left out might be the one
that denies.  Whatever cannot be resolved is therefore an :class:`IncompleteDumpError`, and the
file of before stands.

Pure; :mod:`mesh.agent.recorder` asks Envoy and writes the file.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from mesh.envoy import files, outside_files

Json = dict[str, Any]
"""A JSON object."""

_HTTP_MANAGER: Final = (
    "type.googleapis.com/envoy.extensions.filters.network."
    "http_connection_manager.v3.HttpConnectionManager"
)
_Sections = Callable[[str, str], Iterator[Json]]
_SECRET: Final = "validation_context_sds_secret_config"
_REDACTED: Final = "[redacted]"


class IncompleteDumpError(ValueError):
    """The dump refers to something that it does not hold; the message names both."""


@dataclass(frozen=True, slots=True)
class _Parts:
    """What others refer to, by name."""

    routes: Mapping[str, Json]
    filters: Mapping[str, Json]
    contexts: Mapping[str, Json]


@dataclass(frozen=True, slots=True)
class Resources:
    """Listeners and clusters that refer to nothing outside themselves but files."""

    listeners: tuple[Json, ...]
    clusters: tuple[Json, ...]


def resources(dump: Mapping[str, Any]) -> Resources:
    """Return what ``dump`` says that Envoy runs, self-contained.

    Only what came from the zone is taken, and only what is active: a listener or a cluster that is
    still warming has not been acknowledged.

    Raises:
        IncompleteDumpError: a reference cannot be resolved, or a value was redacted.

    """
    sections = _sections(dump)
    endpoints = {
        each["endpoint_config"]["cluster_name"]: each["endpoint_config"]
        for each in sections("EndpointsConfigDump", "dynamic_endpoint_configs")
        if "endpoint_config" in each
    }
    parts = _parts(sections)
    clusters = [
        _inlined(_with_endpoints(_untyped(each["cluster"]), endpoints), parts)
        for each in sections("ClustersConfigDump", "dynamic_active_clusters")
    ]
    listeners = [
        _inlined(_untyped(each["active_state"]["listener"]), parts)
        for each in sections("ListenersConfigDump", "dynamic_listeners")
        if "listener" in each.get("active_state", {})
    ]
    for resource in (*clusters, *listeners):
        _check(resource, str(resource.get("name")))
    return Resources(
        tuple(sorted(listeners, key=lambda each: str(each["name"]))),
        tuple(sorted(clusters, key=lambda each: str(each["name"]))),
    )


def _sections(dump: Mapping[str, Any]) -> _Sections:
    def section(kind: str, part: str) -> Iterator[Json]:
        for config in dump.get("configs", ()):
            if str(config.get("@type", "")).endswith("." + kind):
                yield from config.get(part, ())

    return section


def _parts(sections: _Sections) -> _Parts:
    return _Parts(
        routes={
            each["route_config"]["name"]: each["route_config"]
            for each in sections("RoutesConfigDump", "dynamic_route_configs")
            if "route_config" in each
        },
        filters={
            each["ecds_filter"]["name"]: each["ecds_filter"]["typed_config"]
            for each in sections("EcdsConfigDump", "ecds_filters")
            if "typed_config" in each.get("ecds_filter", {})
        },
        contexts={
            each["name"]: each["secret"]["validation_context"]
            for each in sections("SecretsConfigDump", "dynamic_active_secrets")
            if "validation_context" in each.get("secret", {})
        },
    )


def _untyped(resource: Json) -> Json:
    return {key: value for key, value in resource.items() if key != "@type"}


def _with_endpoints(cluster: Json, endpoints: Mapping[str, Json]) -> Json:
    if cluster.get("type") != "EDS":
        return cluster
    about = cluster.get("eds_cluster_config", {})
    name = about.get("service_name") or cluster["name"]
    found = endpoints.get(name)
    if found is None:
        raise IncompleteDumpError(f"cluster {cluster['name']}: endpoints {name} are not there")
    rest = {key: value for key, value in cluster.items() if key != "eds_cluster_config"}
    return {**rest, "type": "STATIC", "load_assignment": _assignment(found)}


def _assignment(endpoints: Json) -> Json:
    """Return the assignment without the locality weights that Envoy dumps as 0 and refuses."""
    localities = [
        {key: value for key, value in each.items() if key != "load_balancing_weight" or value}
        for each in endpoints.get("endpoints", ())
    ]
    return {**_untyped(endpoints), "endpoints": localities}


def _inlined(value: Any, parts: _Parts) -> Any:
    if isinstance(value, list):
        return [_inlined(each, parts) for each in value]
    if not isinstance(value, dict):
        return value
    result = outside_files.without_secrets(value)
    if result.get("@type") == _HTTP_MANAGER and "rds" in result:
        name = result.pop("rds").get("route_config_name", "")
        if name not in parts.routes:
            raise IncompleteDumpError(f"HTTP manager: route configuration {name} is not there")
        result["route_config"] = _untyped(parts.routes[name])
    if "config_discovery" in result and "name" in result:
        discovery = result.pop("config_discovery")
        found = parts.filters.get(result["name"], discovery.get("default_config"))
        if found is None:
            raise IncompleteDumpError(f"filter {result['name']} is not there")
        result["typed_config"] = found
    if "ads" in result.get(_SECRET, {}).get("sds_config", {}):
        result |= _validation(result.pop(_SECRET)["name"], parts.contexts)
    return {key: _inlined(each, parts) for key, each in result.items()}


def _validation(name: str, contexts: Mapping[str, Json]) -> Json:
    """Return what takes the place of the reference to the validation context ``name``.

    A context that follows the trust bundle's file is dumped with the roots of the moment.  Static
    secrets follow no file, so its matchers are put on top of the bundle's own secret, which does.
    """
    context = contexts.get(name)
    if context is None:
        raise IncompleteDumpError(f"validation context {name} is not there")
    if context.get("watched_directory", {}).get("path") != files.WATCHED_DIRECTORY:
        return {"validation_context": context}
    matchers = {
        key: each for key, each in context.items() if key not in {"trusted_ca", "watched_directory"}
    }
    bundle = {
        "name": files.BUNDLE_SECRET,
        "sds_config": {
            "resource_api_version": "V3",
            "path_config_source": {
                "path": files.BUNDLE_SDS,
                "watched_directory": {"path": files.WATCHED_DIRECTORY},
            },
        },
    }
    return {
        "combined_validation_context": {
            "default_validation_context": matchers,
            _SECRET: bundle,
        }
    }


def _check(value: object, path: str) -> None:
    if isinstance(value, list):
        for index, each in enumerate(value):
            _check(each, f"{path}[{index}]")
    elif isinstance(value, dict):
        source = value.get("api_config_source", {})
        # The agent is there whenever it starts an Envoy.
        asks = bool(source) and source.get("cluster_names") != [files.AGENT_CLUSTER]
        if "ads" in value or asks:
            raise IncompleteDumpError(f"{path} still asks a server")
        for key, each in value.items():
            _check(each, f"{path}.{key}")
    elif value == _REDACTED:
        raise IncompleteDumpError(f"{path} was redacted")
