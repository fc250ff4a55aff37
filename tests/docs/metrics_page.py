"""``docs/reference/metrics.md``: what the zone and the proxy count."""

from __future__ import annotations

import asyncio
import re
from datetime import UTC, datetime, timedelta
from typing import Final

from prometheus_client.metrics import MetricWrapperBase

from mesh.agent.identity import Svid
from mesh.agent.readiness import Readiness, Status
from mesh.agent.settings import AgentSettings
from mesh.aio.clock import ManualClock
from mesh.config.proxy import ProxySettings
from mesh.controlplane.metrics import Metrics
from tests.docs.markdown import code, table

_HEAD: Final = ("Metric", "Type", "Labels", "Meaning")
_ZONE: Final = """\
# Metrics

Prometheus' text format.

## The zone: port 5680, `/metrics`

Each instance of a zone counts for itself.

"""
_PROXY: Final = """
## The proxy: port 15020, `/metrics`

One page holds the agent's own metrics below, Envoy's (`envoy_…`), and the application's, if
`app_metrics_url` is set. A name that two sources use belongs to the first of them in this order.

"""
_FAMILY: Final = re.compile(r"# HELP (mesh_agent_\S+) (.*)\n# TYPE \S+ (\w+)\n")
_EPOCH: Final = datetime(2026, 1, 1, tzinfo=UTC)


def page() -> str:
    """Return the page."""
    zone = [row for each in vars(Metrics()).values() for row in _described(each)]
    proxy = [
        (code(name), kind, "", meaning) for name, meaning, kind in _FAMILY.findall(_agents_page())
    ]
    return _ZONE + table(_HEAD, zone) + _PROXY + table(_HEAD, proxy)


def _described(metric: object) -> list[tuple[str, str, str, str]]:
    if not isinstance(metric, MetricWrapperBase):
        return []
    labels = ", ".join(code(label) for label in vars(metric)["_labelnames"])
    suffix = {"counter": "_total"}
    return [
        (code(found.name + suffix.get(found.type, "")), found.type, labels, found.documentation)
        for found in metric.describe()
    ]


def _agents_page() -> str:
    settings = ProxySettings.model_validate(
        {
            "service": "web",
            "zone_api": "127.0.0.1:1",
            "join_token_file": "token",
            "state_dir": "state",
            "app": "127.0.0.1:1",
            "app_metrics_url": "http://127.0.0.1:1/metrics",
        }
    )
    svid = Svid("mesh.example", "dc1", "web", "0a", _EPOCH, _EPOCH + timedelta(hours=1), ())
    readiness = Readiness(
        Status(svid=svid), ManualClock(_EPOCH), AgentSettings.from_json(settings.for_agent())
    )
    return asyncio.run(readiness.metrics()).body.decode()
