"""What a gateway is registered as: by its kind, as Consul's own gateways are."""

from __future__ import annotations

from typing import Any, Final

from mesh.agent.settings import AgentSettings
from mesh.envoy import files
from mesh.model import hostport
from mesh.model.names import WAN_META
from mesh.model.proxies import Inbound, Role

_KINDS: Final = {Role.ZONE_GATEWAY: "mesh-gateway", Role.EGRESS: "terminating-gateway"}
"""What Consul calls the gateways between zones and to the outside."""


def gateway_service(settings: AgentSettings, inbound: Inbound, address: str) -> dict[str, Any]:
    """Return the gateway that ``settings`` are of, at ``address``, as Consul's agent takes it."""
    build = _edge if settings.role is Role.EDGE else _zone_gateway
    return build(settings, inbound, address)


def _zone_gateway(settings: AgentSettings, inbound: Inbound, address: str) -> dict[str, Any]:
    wan = settings.meta.get(WAN_META)
    host, port = hostport.split(wan) if wan else (address, inbound.port)
    return {
        "ID": settings.id,
        "Name": settings.service,
        "Kind": _KINDS[settings.role],
        # As a gateway alone it would not be listed among what speaks the mesh's TLS.
        "Connect": {"Native": True},
        "Address": address,
        "Port": inbound.port,
        "TaggedAddresses": {
            "lan": {"address": address, "port": inbound.port},
            "wan": {"address": host, "port": port},
        },
        "Tags": list(settings.tags),
        "Meta": dict(settings.meta),
        "Checks": [
            {
                "CheckID": f"{settings.id}:listening",
                "Name": "Gateway listens",
                "TCP": hostport.join(address, inbound.port),
                "Interval": "2s",
                "Timeout": "2s",
                "Status": "passing",
            }
        ],
    }


def _edge(settings: AgentSettings, inbound: Inbound, address: str) -> dict[str, Any]:
    """Return an edge gateway: its port is that of its health, as with Consul's own."""
    return {
        "ID": settings.id,
        "Name": settings.service,
        "Kind": "ingress-gateway",
        "Address": address,
        "Port": inbound.port,
        "Tags": list(settings.tags),
        "Meta": dict(settings.meta),
        "Checks": [
            {
                "CheckID": f"{settings.id}:listening",
                "Name": "Gateway serves",
                "HTTP": f"http://{hostport.join(address, inbound.port)}{files.EDGE_HEALTH_PATH}",
                "Interval": "2s",
                "Timeout": "2s",
                "Status": "passing",
            }
        ],
    }
