"""How calls are treated on one way: defaults, what entries say over them, and policies over all.

What several policies of a kind say together is merged once for all the routes and targets of a
composition that share it.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, Final

from mesh.model.destinations import Settings, Target
from mesh.model.entries import NO_UPSTREAM_DEFAULTS, ServiceDefaults, UpstreamDefaults
from mesh.model.services import Protocol
from mesh.model.traffic import Route
from mesh.policies import defaults, merge
from mesh.policies.kind import Kind
from mesh.policies.registry import KINDS
from mesh.policies.selection import Selection
from mesh.routing.chain import Resolved

_ON_ROUTE: Final = tuple(kind for kind in KINDS.values() if kind.on_route)
_ON_TARGET: Final = tuple(kind for kind in KINDS.values() if kind.on_target)


@dataclass(slots=True)
class Treatment:
    """How proxies that ``said`` concerns treat calls; ``caller`` is what their own entry says.

    ``losers`` collects pairs of a field and the document that lost it to another.
    """

    said: Selection
    caller: ServiceDefaults | None
    losers: list[tuple[str, str]] = field(default_factory=list)
    _merged: dict[tuple[str, str, str], merge.Merged[Any] | None] = field(default_factory=dict)

    def of_target(self, target: Target, resolved: Resolved, protocol: Protocol) -> Settings:
        """Return how ``target``, which is ``resolved`` so, is treated."""
        settings = replace(defaults.SETTINGS, connect_timeout=resolved.connect_timeout)
        origins = dict(resolved.origins)
        if resolved.balancing is not None:
            settings = replace(settings, balancing=resolved.balancing)
        settings = self._by_caller(settings, target, origins)
        for kind in _ON_TARGET:
            merged = self._merge(kind, target.service)
            if merged is not None and kind.on_target is not None:
                settings = kind.on_target(merged.conf, settings, protocol)
                self._note(kind, merged, origins)
        return replace(settings, origins=origins)

    def of_route(self, service: str, route: Route, protocol: Protocol) -> Route:
        """Return ``route`` for calls to ``service``, with all that nobody said filled in."""
        route = defaults.on_route(route, protocol)
        origins = dict(route.origins)
        for kind in _ON_ROUTE:
            merged = self._merge(kind, service, route.name)
            if merged is not None and kind.on_route is not None:
                route = kind.on_route(merged.conf, route, protocol)
                self._note(kind, merged, origins)
        return replace(route, origins=origins)

    def _by_caller(self, settings: Settings, target: Target, origins: dict[str, str]) -> Settings:
        """Apply the ``UpstreamConfig`` of the caller's own service-defaults."""
        if self.caller is None:
            return settings
        said = _over(self.caller.upstream, self.caller.upstreams.get(target.service))
        if said == NO_UPSTREAM_DEFAULTS:
            return settings
        label = f"service-defaults {self.caller.name}"
        if said.connect_timeout is not None:
            settings = replace(settings, connect_timeout=said.connect_timeout)
            origins["connect_timeout"] = label
        if said.limits is not None:
            settings = replace(settings, limits=said.limits)
            origins["limits"] = label
        if said.outlier is not None:
            settings = replace(settings, outlier=said.outlier)
            origins["outlier"] = label
        return settings

    def _merge(self, kind: Kind, service: str, route: str = "") -> merge.Merged[Any] | None:
        documents = self.said.of(kind.name)
        if not documents or kind.conf is None:
            return None
        asked = (kind.name, service, route)
        if asked not in self._merged:
            said = merge.outbound(documents, service, route=route)
            self._merged[asked] = merge.merge(kind.conf, said)
        return self._merged[asked]

    def _note(self, kind: Kind, merged: merge.Merged[Any], origins: dict[str, str]) -> None:
        origins.update((f"{kind.name}.{path}", label) for path, label in merged.origins.items())
        self.losers += [(f"{kind.name}.{path}", label) for path, label in merged.losers]


def _over(general: UpstreamDefaults, specific: UpstreamDefaults | None) -> UpstreamDefaults:
    if specific is None:
        return general
    return UpstreamDefaults(
        specific.limits or general.limits,
        specific.outlier or general.outlier,
        specific.connect_timeout or general.connect_timeout,
    )
