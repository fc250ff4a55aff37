"""What has been learned of the KV store: all that the mesh keeps there itself.

The half of :class:`~mesh.sources.consul.knowledge.Knowledge` that is told by key: addresses,
policies, rollouts, other zones and peers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from mesh.clients.consul import KeyValue
from mesh.model.zones import Zone
from mesh.policies.kind import Kind
from mesh.sources.consul import policies, rollouts, vips
from mesh.sources.consul.problems import LastGood, Problems
from mesh.sources.zones import peers as peer_records
from mesh.sources.zones import record as zone_records
from mesh.world.changes import (
    Change,
    PoliciesChanged,
    RolloutsChanged,
    VirtualAddressesChanged,
    ZonesChanged,
)


class StoredKnowledge:
    """The last of everything that was emitted of what stands at keys."""

    def __init__(
        self,
        emit: Callable[[Change], None],
        problems: Problems,
        kinds: Mapping[str, Kind] | None = None,
    ) -> None:
        """Hand changes to ``emit``; the rest is as of the whole."""
        self._emit = emit
        self._said: dict[type[Change], Change] = {}
        self._addresses: tuple[KeyValue, ...] = ()
        self._vips = LastGood(vips.KIND, vips.parse_addresses, problems)
        self._policy_pairs: tuple[KeyValue, ...] = ()
        self._mirrored_pairs: tuple[KeyValue, ...] = ()
        self._policies = LastGood(
            policies.KIND,
            policies.reader(kinds),
            problems,
            fallback=lambda raw: policies.closed(raw, kinds),
            fallback_words=lambda raw: policies.closed_words(raw, kinds),
        )
        self._rollout_pairs: tuple[KeyValue, ...] = ()
        self._rollouts = LastGood(rollouts.KIND, rollouts.parse_state, problems)
        self._zone_pairs: tuple[KeyValue, ...] = ()
        self._zones = LastGood(zone_records.KIND, zone_records.parse_zone, problems)
        self._federated: Mapping[str, Zone] = {}
        self._peer_pairs: tuple[KeyValue, ...] = ()
        self._peers: LastGood[Zone | None] = LastGood(
            peer_records.KIND, peer_records.parse_zone, problems
        )
        self._known_peers: Mapping[str, Zone | None] = {}

    def empties_addresses(self, pairs: tuple[KeyValue, ...]) -> bool:
        """Whether no virtual address would be left."""
        return bool(self._addresses) and not pairs

    def addresses(self, pairs: tuple[KeyValue, ...]) -> None:
        """Take every allocation of virtual addresses."""
        self._addresses = pairs
        read = self._vips.renew(vips.raw_addresses(pairs))
        held = {name: pair for name, pair in read.items() if not isinstance(pair, vips.Released)}
        self._say(VirtualAddressesChanged(held))

    def empties_policies(self, pairs: tuple[KeyValue, ...]) -> bool:
        """Whether no policy would be left."""
        return bool(self._policy_pairs) and not pairs

    def policies(self, pairs: tuple[KeyValue, ...]) -> None:
        """Take every policy document of the zone."""
        self._policy_pairs = pairs
        self._read_policies()

    def empties_mirror(self, pairs: tuple[KeyValue, ...]) -> bool:
        """Whether no copy of the primary's policies would be left."""
        return bool(self._mirrored_pairs) and not pairs

    def mirror(self, pairs: tuple[KeyValue, ...]) -> None:
        """Take every copy of the primary's policy documents."""
        self._mirrored_pairs = pairs
        self._read_policies()

    def empties_rollouts(self, pairs: tuple[KeyValue, ...]) -> bool:
        """Whether no rollout would be left."""
        return bool(self._rollout_pairs) and not pairs

    def rollouts(self, pairs: tuple[KeyValue, ...]) -> None:
        """Take the state of every rollout."""
        self._rollout_pairs = pairs
        read = self._rollouts.renew(rollouts.raw_states(pairs))
        self._say(RolloutsChanged(rollouts.by_service(read)))

    def empties_zones(self, pairs: tuple[KeyValue, ...]) -> bool:
        """Whether no other zone would be left."""
        return bool(self._zone_pairs) and not pairs

    def zones(self, pairs: tuple[KeyValue, ...]) -> None:
        """Take what is known of every other zone."""
        self._zone_pairs = pairs
        self._federated = self._zones.renew(zone_records.raw_records(pairs))
        self._say_zones()

    def empties_peers(self, pairs: tuple[KeyValue, ...]) -> bool:
        """Whether no peer would be left."""
        return bool(self._peer_pairs) and not pairs

    def peers(self, pairs: tuple[KeyValue, ...]) -> None:
        """Take what is known of every peer."""
        self._peer_pairs = pairs
        self._known_peers = self._peers.renew(peer_records.raw_peers(pairs))
        self._say_zones()

    def _say_zones(self) -> None:
        known = {name: zone for name, zone in self._known_peers.items() if zone is not None}
        # A peer that has the name of a zone of our own is not that zone.
        self._say(ZonesChanged({**known, **self._federated}, peering=bool(self._peer_pairs)))

    def _read_policies(self) -> None:
        raws = policies.raw_documents(self._policy_pairs, self._mirrored_pairs)
        read = self._policies.renew(raws)
        self._say(PoliciesChanged(policies.by_key(read.values())))

    def _say(self, change: Change) -> None:
        if self._said.get(type(change)) != change:
            self._said[type(change)] = change
            self._emit(change)
