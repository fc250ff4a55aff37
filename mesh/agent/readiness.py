"""What the proxy tells whoever asks on its readiness port: ``/ready``, ``/live``, ``/metrics``.

(``/measurements`` and ``/status`` are there too: see ``measurements`` and ``status``.)

Ready means that a caller may be sent here, and that the application may call: Envoy serves with
the inbound listener and with one for each upstream, the certificate is valid, and nobody has asked
the proxy to stop.  What is missing stands in the answer, a line each.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from http import HTTPStatus
from typing import Final

from mesh.agent import http, metrics
from mesh.agent.admin import Admin, Condition
from mesh.agent.certificates import Certificates
from mesh.agent.envoy_process import Role
from mesh.agent.identity import Svid
from mesh.agent.registration import Registration
from mesh.agent.settings import AgentSettings
from mesh.agent.supervisor import Supervisor
from mesh.agent.web import Handler, Page
from mesh.aio.clock import Clock

logger = logging.getLogger(__name__)

_TEXT_FORMAT: Final = {"Accept": "text/plain; version=0.0.4"}


@dataclass(slots=True)
class Status:
    """What is known of the proxy; the agent's parts fill it in as they come up."""

    svid: Svid | None = None
    supervisor: Supervisor | None = None
    draining: bool = False
    certificates: Certificates | None = None
    """Those for clients, of an edge gateway."""
    registration: Registration | None = None

    @property
    def admin(self) -> Admin | None:
        """The admin interface of the Envoy that serves, if there is one."""
        serving = self.supervisor.serving if self.supervisor else None
        return serving.admin if serving else None


def expected(settings: AgentSettings) -> dict[str, str]:
    """Return the listeners that the zone makes for these settings: name, and what it is for."""
    listeners = {} if settings.inbound is None else {"inbound": "callers"}
    for each in settings.upstreams:
        name = f"outbound:{each.called}:{each.address}:{each.port}"
        listeners[name] = f"upstream {each.service} on {each.address}:{each.port}"
    if settings.capture is not None:
        listeners["capture"] = f"what is captured, on port {settings.capture.port}"
    if settings.dns is not None:
        listeners["names"] = f"questions for names, on port {settings.dns.port}"
    return listeners


def missing(
    svid: Svid | None,
    condition: Condition | None,
    now: datetime,
    *,
    listeners: Mapping[str, str],
    draining: bool,
) -> tuple[str, ...]:
    """Return why the proxy is not ready; nothing if it is.

    ``listeners`` is what :func:`expected` says.
    """
    reasons = []
    if draining:
        reasons.append("draining: the proxy was asked to stop")
    if svid is None:
        reasons.append("no certificate: not enrolled yet")
    elif not svid.valid(now):
        reasons.append(f"certificate expired at {svid.not_after.isoformat()}")
    if condition is None:
        reasons.append("envoy does not serve yet, or does not answer")
    elif not condition.live:
        reasons.append(f"envoy is {condition.state}")
    else:
        reasons += _not_listening(condition, listeners)
    return tuple(reasons)


def _not_listening(condition: Condition, listeners: Mapping[str, str]) -> Iterator[str]:
    for name, purpose in listeners.items():
        if name not in condition.listeners:
            yield f"envoy does not listen for {purpose} yet (listener {name})"


class Readiness:
    """Answers the three pages."""

    def __init__(self, status: Status, clock: Clock, settings: AgentSettings) -> None:
        """``status`` is read at each request."""
        self._status = status
        self._clock = clock
        self._app_metrics_url = settings.app_metrics_url
        self._listeners = expected(settings)

    def pages(self) -> Mapping[str, Handler]:
        """Return the handlers by path."""
        return {"/ready": self.ready, "/live": self.live, "/metrics": self.metrics}

    async def live(self) -> Page:
        """Say that the agent runs: that it answers is the proof."""
        return Page(HTTPStatus.OK, b"live\n")

    async def ready(self) -> Page:
        """Say whether callers may be sent here, and if not, why."""
        reasons = await self.reasons()
        if not reasons:
            return Page(HTTPStatus.OK, b"ready\n")
        return Page(HTTPStatus.SERVICE_UNAVAILABLE, "".join(f"{r}\n" for r in reasons).encode())

    async def reasons(self) -> tuple[str, ...]:
        """Return why callers may not be sent here; nothing if they may."""
        reasons = missing(
            self._status.svid,
            await self._condition(),
            self._clock.now(),
            listeners=self._listeners,
            draining=self._status.draining,
        )
        if self._status.certificates is not None:
            reasons += self._status.certificates.complaints()
        return reasons

    async def metrics(self) -> Page:
        """Return Envoy's, the application's and the agent's metrics on one page."""
        envoy, app = await self._envoy_metrics(), await self._app_metrics()
        own = metrics.gauges(self._own(app_up=app is not None))
        merged, left_out = metrics.merge((own, envoy, app or ""))
        name = "mesh_agent_app_metrics_left_out"
        text = "Metric families of the application whose name the proxy uses."
        page = merged + metrics.gauges({name: ("gauge", text, left_out)})
        return Page(HTTPStatus.OK, page.encode(), metrics.CONTENT_TYPE)

    def _own(self, *, app_up: bool) -> dict[str, tuple[str, str, float]]:
        supervisor, svid = self._status.supervisor, self._status.svid
        serving = supervisor.serving if supervisor else None
        role = serving.run.role if serving else None
        own = {
            "mesh_agent_envoy_restarts_total": (
                "counter",
                "Times that Envoy ended by itself.",
                float(supervisor.restarts if supervisor else 0),
            ),
            "mesh_agent_config_live": (
                "gauge",
                "1 if Envoy follows the zone.",
                float(role is Role.LIVE),
            ),
            "mesh_agent_config_last_good": (
                "gauge",
                "1 if Envoy serves from the last known good configuration.",
                float(role is Role.FALLBACK),
            ),
            "mesh_agent_draining": ("gauge", "1 while stopping.", float(self._status.draining)),
        }
        if svid is not None:
            own["mesh_agent_svid_expiry_seconds"] = (
                "gauge",
                "When the certificate expires, in seconds since 1970.",
                svid.not_after.timestamp(),
            )
        if self._app_metrics_url is not None:
            own["mesh_agent_app_metrics_up"] = (
                "gauge",
                "1 if the application's metrics could be read.",
                float(app_up),
            )
        return own

    async def _condition(self) -> Condition | None:
        admin = self._status.admin
        if admin is None:
            return None
        try:
            return await admin.condition()
        except http.RequestError:
            return None

    async def _envoy_metrics(self) -> str:
        admin = self._status.admin
        if admin is None:
            return ""
        try:
            return (await admin.prometheus()).decode()
        except http.RequestError as error:
            logger.warning("envoy's metrics cannot be read", extra={"reason": str(error)})
            return ""

    async def _app_metrics(self) -> str | None:
        if self._app_metrics_url is None:
            return None
        server, path = http.from_url(self._app_metrics_url)
        try:
            answer = await http.request(server, "GET", path, headers=_TEXT_FORMAT, timeout=3.0)
        except http.RequestError as error:
            logger.debug("no application metrics", extra={"reason": str(error)})
            return None
        return answer.body.decode(errors="replace") if answer.ok else None
