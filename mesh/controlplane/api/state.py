"""``/v1/services``, ``/v1/explain``, ``/v1/problems``, ``/v1/status``: what the zone knows."""

from __future__ import annotations

from mesh.controlplane.api.model import (
    Document,
    ExplainQuery,
    Nothing,
    ProblemsAnswer,
    ServicesAnswer,
    StatusAnswer,
)
from mesh.controlplane.api.route import AnyRoute, Call, Caller, Reads, Route
from mesh.controlplane.api.view import ZoneView


def routes(view: ZoneView) -> list[AnyRoute]:
    """Return the routes of the zone's state."""

    async def services(_call: Call, _request: Nothing) -> ServicesAnswer:
        return ServicesAnswer(services=list(view.services()))

    async def explain(_call: Call, request: ExplainQuery) -> Document:
        return Document(dict(view.explain(request)))

    async def problems(_call: Call, _request: Nothing) -> ProblemsAnswer:
        return ProblemsAnswer(problems=list(view.problems()))

    async def status(_call: Call, _request: Nothing) -> StatusAnswer:
        return view.status()

    nothing, query = Reads.NOTHING, Reads.QUERY
    return [
        Route(
            "GET",
            "/v1/services",
            "The zone's services",
            Caller.ADMIN,
            nothing,
            Nothing,
            ServicesAnswer,
            services,
        ),
        Route(
            "GET",
            "/v1/explain",
            "Whether a call is allowed, and why",
            Caller.ADMIN,
            query,
            ExplainQuery,
            Document,
            explain,
        ),
        Route(
            "GET",
            "/v1/problems",
            "What Consul holds that cannot be used; the last good version stands",
            Caller.ADMIN,
            nothing,
            Nothing,
            ProblemsAnswer,
            problems,
        ),
        Route(
            "GET",
            "/v1/status",
            "How this instance of the zone fares",
            Caller.ADMIN,
            nothing,
            Nothing,
            StatusAnswer,
            status,
        ),
    ]
