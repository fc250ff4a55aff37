"""What the administration API shows of the zone; the control plane's wiring provides it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from mesh.controlplane.api.model import ExplainQuery, Problem, ServiceSummary, StatusAnswer
from mesh.envoy.resource import Snapshot
from mesh.xds.status import ProxyStatus


class ZoneView(Protocol):
    """A zone as it stands now."""

    def proxies(self) -> Sequence[ProxyStatus]:
        """Return every proxy connected to this instance."""
        ...

    def snapshot(self, session: int) -> Snapshot | None:
        """Return what the proxy of ``session`` shall have, None if it has gone."""
        ...

    def services(self) -> Sequence[ServiceSummary]:
        """Return the zone's services, by name."""
        ...

    def explain(self, query: ExplainQuery) -> Mapping[str, Any]:
        """Return the verdict on a call, what decided it and what would change it, as JSON."""
        ...

    def problems(self) -> Sequence[Problem]:
        """Return what Consul holds that cannot be used."""
        ...

    def status(self) -> StatusAnswer:
        """Return how this instance fares."""
        ...
