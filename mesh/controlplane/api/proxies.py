"""``/v1/proxies``: who is connected, and with what configuration."""

from __future__ import annotations

from datetime import UTC, datetime

from google.protobuf import json_format

from mesh.controlplane.api.errors import ApiError
from mesh.controlplane.api.model import (
    Nack,
    Nothing,
    ProxiesAnswer,
    ProxyConfigAnswer,
    ProxyResource,
    ProxySummary,
    ProxyType,
)
from mesh.controlplane.api.route import AnyRoute, Call, Caller, Reads, Route
from mesh.controlplane.api.view import ZoneView
from mesh.envoy.resource import Resource, Snapshot, unpack
from mesh.xds.status import ProxyStatus


def routes(view: ZoneView) -> list[AnyRoute]:
    """Return the routes of proxies."""

    async def every(_call: Call, _request: Nothing) -> ProxiesAnswer:
        return ProxiesAnswer(proxies=[summary(status) for status in view.proxies()])

    async def config(call: Call, _request: Nothing) -> ProxyConfigAnswer:
        found = [status for status in view.proxies() if status.node == call.path["id"]]
        # A proxy that reconnected may still be listed twice: the newest stream is the true one.
        status = max(found, key=lambda each: each.session, default=None)
        snapshot = view.snapshot(status.session) if status is not None else None
        if status is None or snapshot is None:
            raise ApiError(
                404,
                f"no proxy {call.path['id']!r} is connected to this instance of the zone",
                remedy="list them with 'mesh proxies'; ask the zone's other instances too",
            )
        return configuration(status, snapshot)

    return [
        Route(
            "GET",
            "/v1/proxies",
            "Every proxy connected to this instance",
            Caller.ADMIN,
            Reads.NOTHING,
            Nothing,
            ProxiesAnswer,
            every,
        ),
        Route(
            "GET",
            # A proxy's id is <service>/<instance>.
            "/v1/proxies/{id:.+}/config",
            "What a proxy was sent",
            Caller.ADMIN,
            Reads.NOTHING,
            Nothing,
            ProxyConfigAnswer,
            config,
        ),
    ]


def summary(status: ProxyStatus) -> ProxySummary:
    """Return a proxy as the API shows it."""
    return ProxySummary(
        id=status.node,
        service=status.need.service,
        zone=status.need.zone,
        role=status.need.role.value,
        address=status.address,
        connected_at=datetime.fromtimestamp(status.connected_at, UTC),
        certificate_expires_at=datetime.fromtimestamp(status.certificate_expires_at, UTC),
        in_sync=status.in_sync,
        types=[
            ProxyType(
                type=each.type_url,
                subscribed=each.subscribed,
                sent=each.sent,
                acked=each.acked,
                nacks=each.nacks,
                nack=Nack(resources=list(each.nack.names), reason=each.nack.reason)
                if each.nack
                else None,
            )
            for each in status.types
        ],
    )


def configuration(status: ProxyStatus, snapshot: Snapshot) -> ProxyConfigAnswer:
    """Return a proxy's resources as JSON, each with whether the proxy has taken it."""
    settled = {
        each.type_url: frozenset(each.nack.names if each.nack else ())
        for each in status.types
        if not each.waiting
    }

    def shown(resource: Resource) -> ProxyResource:
        refused = settled.get(resource.type_url)
        return ProxyResource(
            name=resource.name,
            version=resource.version,
            acknowledged=refused is not None and resource.name not in refused,
            content=json_format.MessageToDict(unpack(resource), preserving_proto_field_name=True),
        )

    return ProxyConfigAnswer(
        id=status.node,
        resources={
            type_url: [shown(each) for each in resources]
            for type_url, resources in snapshot.items()
        },
    )
