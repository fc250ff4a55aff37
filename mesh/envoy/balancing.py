"""How an instance is chosen: a cluster's load balancer.

Preferring what is near is not here but in the endpoints' priorities (see ``envoy.endpoint``).
"""

from __future__ import annotations

from typing import Any, Final

from envoy.config.cluster.v3 import cluster_pb2

from mesh.envoy.proto import duration
from mesh.model.destinations import Balancing, LoadBalancing

_POLICIES: Final = {
    Balancing.ROUND_ROBIN: cluster_pb2.Cluster.ROUND_ROBIN,
    Balancing.LEAST_REQUEST: cluster_pb2.Cluster.LEAST_REQUEST,
    Balancing.RANDOM: cluster_pb2.Cluster.RANDOM,
    Balancing.RING_HASH: cluster_pb2.Cluster.RING_HASH,
    Balancing.MAGLEV: cluster_pb2.Cluster.MAGLEV,
}


def balance(cluster: Any, balancing: LoadBalancing) -> None:
    """Let ``cluster`` choose as ``balancing`` says.

    What another algorithm would heed is left out: a merge of policies can bring it along.
    """
    cluster.lb_policy = _POLICIES[balancing.algorithm]
    if balancing.affinity:
        cluster.common_lb_config.locality_weighted_lb_config.SetInParent()
    if balancing.algorithm is Balancing.LEAST_REQUEST:
        if balancing.choices is not None:
            cluster.least_request_lb_config.choice_count.value = balancing.choices
        _slow_start(cluster.least_request_lb_config, balancing)
    elif balancing.algorithm is Balancing.ROUND_ROBIN:
        _slow_start(cluster.round_robin_lb_config, balancing)
    elif balancing.algorithm is Balancing.RING_HASH:
        if balancing.min_ring is not None:
            cluster.ring_hash_lb_config.minimum_ring_size.value = balancing.min_ring
        if balancing.max_ring is not None:
            cluster.ring_hash_lb_config.maximum_ring_size.value = balancing.max_ring
    elif balancing.algorithm is Balancing.MAGLEV and balancing.table_size is not None:
        cluster.maglev_lb_config.table_size.value = balancing.table_size


def _slow_start(config: Any, balancing: LoadBalancing) -> None:
    if balancing.slow_start is None:
        return
    slow = config.slow_start_config
    slow.slow_start_window.CopyFrom(duration(balancing.slow_start))
    if balancing.slow_start_aggression is not None:
        slow.aggression.default_value = balancing.slow_start_aggression
        # The runtime key is required by Envoy's validation; nobody sets it.
        slow.aggression.runtime_key = "mesh.slow_start_aggression"
