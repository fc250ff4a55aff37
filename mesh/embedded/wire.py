"""Records as Consul writes them in JSON.

The shapes are those of Consul's answers, key by key; the contract suite compares them with a
real one's.  A list that Consul makes empty rather than null is made so here.
"""

from __future__ import annotations

import base64
from typing import Any

from mesh.embedded import durations
from mesh.embedded.records import Check, Entry, Node, Pair, Record, Service, Session

Json = dict[str, Any]


def _indexes(record: Record) -> Json:
    return {"CreateIndex": record.create_index, "ModifyIndex": record.modify_index}


def node(record: Node, datacenter: str) -> Json:
    """Write a node as the catalog lists it."""
    return {
        "ID": record.id,
        "Node": record.name,
        "Address": record.address,
        "Datacenter": datacenter,
        "TaggedAddresses": record.tagged_addresses,
        "Meta": record.meta,
        **_indexes(record),
    }


def service(record: Service) -> Json:
    """Write a service as it stands on its node."""
    return {
        **({"Kind": record.kind} if record.kind else {}),
        "ID": record.id,
        "Service": record.name,
        "Tags": record.tags or [],
        "Address": record.address,
        **({"TaggedAddresses": record.tagged_addresses} if record.tagged_addresses else {}),
        "Meta": record.meta,
        "Port": record.port,
        "Weights": record.weights,
        "EnableTagOverride": record.enable_tag_override,
        "Proxy": record.proxy,
        "Connect": record.connect,
        **_indexes(record),
    }


def agent_service(record: Service, datacenter: str) -> Json:
    """Write a service as its agent lists it."""
    plain = service(record)
    for key in ("Connect", "CreateIndex", "ModifyIndex"):
        del plain[key]
    if not record.kind:
        del plain["Proxy"]
    if record.connect:
        plain["Connect"] = record.connect
    return {**plain, "Meta": record.meta or {}, "Datacenter": datacenter}


def catalog_service(record: Service, at: Node, datacenter: str) -> Json:
    """Write a service and its node as one flat object."""
    tagged = record.tagged_addresses
    return {
        "ID": at.id,
        "Node": at.name,
        "Address": at.address,
        "Datacenter": datacenter,
        "TaggedAddresses": at.tagged_addresses,
        "NodeMeta": at.meta,
        "ServiceKind": record.kind,
        "ServiceID": record.id,
        "ServiceName": record.name,
        "ServiceTags": record.tags or [],
        "ServiceAddress": record.address,
        **({"ServiceTaggedAddresses": tagged} if tagged else {}),
        "ServiceWeights": record.weights,
        "ServiceMeta": record.meta or {},
        "ServicePort": record.port,
        "ServiceEnableTagOverride": record.enable_tag_override,
        "ServiceProxy": record.proxy,
        "ServiceConnect": record.connect,
        **_indexes(record),
    }


def check(record: Check) -> Json:
    """Write the state of a check."""
    return {
        "Node": record.node,
        "CheckID": record.id,
        "Name": record.name,
        "Status": record.status,
        "Notes": record.notes,
        "Output": record.output,
        "ServiceID": record.service_id,
        "ServiceName": record.service_name,
        "ServiceTags": record.service_tags or [],
        "Type": record.type,
        "Definition": record.definition,
        **_indexes(record),
    }


def pair(record: Pair, *, value: bool = True) -> Json:
    """Write a key; without ``value`` as a transaction reports what it wrote."""
    shown = base64.b64encode(record.value).decode() if value and record.value else None
    return {
        "LockIndex": record.lock_index,
        "Key": record.name,
        "Flags": record.flags,
        "Value": shown,
        **({"Session": record.session} if record.session else {}),
        **_indexes(record),
    }


def session(record: Session) -> Json:
    """Write a session."""
    return {
        "ID": record.id,
        "Name": record.name,
        "Node": record.node,
        "LockDelay": round(record.lock_delay / durations.NANOSECOND),
        "Behavior": record.behavior,
        "TTL": record.ttl,
        "NodeChecks": record.node_checks,
        "ServiceChecks": record.service_checks,
        **_indexes(record),
    }


def entry(record: Entry) -> Json:
    """Write a configuration entry."""
    return {**record.body, **_indexes(record)}
