"""Endpoints: where the instances of a service answer, and which are tried before which.

As in Consul, a critical instance gets no traffic: it is left out, so that Envoy's panic mode
cannot bring it back.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from math import ceil
from typing import Any, Final

from envoy.config.endpoint.v3 import endpoint_pb2

from mesh.model.services import Health, Instance

TRANSPORT_MATCH: Final = "mesh"
"""The key by which an endpoint says which of the cluster's transport sockets dials it."""
_TRANSPORT_METADATA: Final = "envoy.transport_socket_match"
_WHOLE: Final = 100
_UNTIL_THE_LAST: Final = 100_000
"""An overprovisioning factor (percent) that no share of failing instances outweighs."""


Group = tuple[Sequence[Instance], str]
"""The instances of one selection, and by which transport socket they are dialled.

The latter is a target's name; it is empty where the cluster has only one transport socket.
"""


def assignment(name: str, instances: Iterable[Instance]) -> endpoint_pb2.ClusterLoadAssignment:
    """Return the usable instances with their weights."""
    return prioritised(name, [(tuple(instances), "")])


def prioritised(
    name: str,
    groups: Sequence[Group],
    *,
    near: Callable[[Instance], bool] | None = None,
    parts: Callable[[Instance], int] | None = None,
    spill_below: int | None = None,
) -> endpoint_pb2.ClusterLoadAssignment:
    """Return the usable instances of ``groups``, each of which stands in for those before it.

    The *i*-th group has priority *i*, whether or not another has instances, so that nobody
    changes place when one comes up.  It gets traffic once no instance before it is healthy, as
    Consul's failover does, or with ``spill_below`` what is missing once fewer than so many percent
    of those before it are healthy.  With ``near`` each group is two: what is near, and the rest,
    which Envoy lets help out already when the near ones become too few (below 72%).  With ``parts``
    the calls of a group are shared out: those with the same number of parts get so many together.
    """
    result = endpoint_pb2.ClusterLoadAssignment(cluster_name=name)
    usable = [_usable(group) for group in groups]
    if near is not None:
        usable = [half for group in usable for half in _split(group, near)]
    while usable and not usable[-1][0]:
        usable.pop()
    for priority, group in enumerate(usable):
        _add(result, priority, group, parts)
    if spill_below is not None:
        # A level gets all traffic while its healthy share times the factor is at least 100%.
        result.policy.overprovisioning_factor.value = ceil(_WHOLE * _WHOLE / spill_below)
    elif near is None and len(usable) > 1:
        result.policy.overprovisioning_factor.value = _UNTIL_THE_LAST
    return result


def _add(result: Any, priority: int, group: Group, parts: Callable[[Instance], int] | None) -> None:
    if parts is None:
        _place(result.endpoints.add(priority=priority), group)
        return
    instances, match = group
    shared: dict[int, list[Instance]] = {}
    for instance in instances:
        shared.setdefault(parts(instance), []).append(instance)
    for weight, sharing in sorted(shared.items(), reverse=True):
        # Localities of one priority must differ; their names say nothing else.
        added = result.endpoints.add(priority=priority)
        added.locality.sub_zone = f"{weight} parts"
        added.load_balancing_weight.value = weight
        _place(added, (sharing, match))


def assignment_of(name: str, address: str, port: int) -> endpoint_pb2.ClusterLoadAssignment:
    """Return an assignment of one address."""
    return assignment(name, [Instance(id=name, node="", address=address, port=port)])


def _usable(group: Group) -> Group:
    instances, match = group
    return [each for each in instances if each.health is not Health.CRITICAL], match


def _split(group: Group, near: Callable[[Instance], bool]) -> tuple[Group, Group]:
    instances, match = group
    close: list[Instance] = []
    far: list[Instance] = []
    for instance in instances:
        (close if near(instance) else far).append(instance)
    return (close, match), (far, match)


def _place(locality: Any, group: Group) -> None:
    instances, match = group
    for instance in instances:
        endpoint = locality.lb_endpoints.add()
        place = endpoint.endpoint.address.socket_address
        place.address = instance.address
        place.port_value = instance.port
        endpoint.load_balancing_weight.value = max(instance.weight, 1)
        if match:
            metadata = endpoint.metadata.filter_metadata[_TRANSPORT_METADATA]
            metadata.fields[TRANSPORT_MATCH].string_value = match
