"""Endpoints: where the instances of a service answer."""

from __future__ import annotations

from collections.abc import Iterable

from envoy.config.endpoint.v3 import endpoint_pb2

from mesh.model.services import Health, Instance


def assignment(name: str, instances: Iterable[Instance]) -> endpoint_pb2.ClusterLoadAssignment:
    """Return the usable instances with their weights.

    As in Consul, a critical instance gets no traffic: it is left out, so that Envoy's panic
    mode cannot bring it back.
    """
    result = endpoint_pb2.ClusterLoadAssignment(cluster_name=name)
    usable = [instance for instance in instances if instance.health is not Health.CRITICAL]
    if usable:
        group = result.endpoints.add()
        for instance in usable:
            endpoint = group.lb_endpoints.add()
            place = endpoint.endpoint.address.socket_address
            place.address = instance.address
            place.port_value = instance.port
            endpoint.load_balancing_weight.value = max(instance.weight, 1)
    return result


def assignment_of(name: str, address: str, port: int) -> endpoint_pb2.ClusterLoadAssignment:
    """Return an assignment of one address."""
    return assignment(name, [Instance(id=name, node="", address=address, port=port)])
