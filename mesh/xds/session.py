"""One incremental ADS stream, without the stream: requests and snapshots in, responses out.

Followed is Envoy's xDS protocol
(https://www.envoyproxy.io/docs/envoy/latest/api-docs/xds_protocol), with four promises on top:

* Of each type at most one response is unanswered.  Newer content waits for the answer, and
  then only the newest is sent, so a slow proxy costs no memory.
* Make before break.  A sweep sends what is added or changed in the order of
  :data:`~mesh.envoy.resource.TYPE_URLS`, and takes away in the reverse order, once the
  clusters, listeners and routes sent are acknowledged.  Extensions the proxy gives up itself,
  once no filter chain that it drains needs them.
* While a new cluster is unacknowledged (Envoy answers when it is warm), listeners and routes
  wait, for :data:`HOLD_SECONDS` at most.  Endpoints and extensions (authorisation among them)
  never wait.
* What a proxy refuses is not sent again until its content changes.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, Protocol

from envoy.service.discovery.v3 import discovery_pb2

from mesh.envoy.resource import CLUSTER, ENDPOINTS, LISTENER, ROUTE, TYPE_URLS, Resource, Snapshot
from mesh.xds.responses import Batch, Outstanding, Push
from mesh.xds.status import Nack, TypeStatus
from mesh.xds.subscription import ProtocolViolationError, Subscription

HOLD_SECONDS: Final = 2.0
"""For how long an unanswered new cluster holds back listeners and routes."""
MAX_TYPES: Final = 16
"""Resource types that one stream may ask for."""

_HELD: Final = frozenset({LISTENER, ROUTE})
_GATES: Final = (CLUSTER, LISTENER, ROUTE)


class Answers(Protocol):
    """Who wants to hear what a proxy says to a response."""

    def acked(self, type_url: str, seconds: float) -> None:
        """Note that a response was acknowledged after ``seconds``."""

    def nacked(self, type_url: str, nack: Nack) -> None:
        """Note that a response was refused."""


class Session:
    """The state of one stream."""

    __slots__ = ("_answers", "_nonce", "_snapshot", "_subscriptions")

    def __init__(self, snapshot: Snapshot, answers: Answers | None = None) -> None:
        """Open a stream that shall converge to ``snapshot``."""
        self._snapshot = snapshot
        self._answers = answers
        self._nonce = 0
        self._subscriptions: dict[str, Subscription] = {}

    def receive(self, request: discovery_pb2.DeltaDiscoveryRequest, at: float = 0.0) -> list[Push]:
        """Take one request; ``at`` is the caller's monotonic clock.

        Raises:
            ProtocolViolationError: the client asks for more than a stream may have.

        """
        type_url = request.type_url
        subscription = self._subscriptions.get(type_url)
        if subscription is None:
            if not type_url or len(self._subscriptions) >= MAX_TYPES:
                raise ProtocolViolationError(
                    f"type URL {type_url!r} refused: it must not be empty, and a stream may "
                    f"have at most {MAX_TYPES} types"
                )
            subscription = Subscription(type_url)
            subscription.begin(
                request.resource_names_subscribe,
                request.initial_resource_versions,
                self._resources(type_url),
            )
            self._subscriptions[type_url] = subscription
        else:
            self._answer(subscription, request, at)
            subscription.change(
                request.resource_names_subscribe, request.resource_names_unsubscribe
            )
        return list(self._sweep(at))

    def offer(self, snapshot: Snapshot, at: float = 0.0) -> list[Push]:
        """Take a newer snapshot and return what may be sent of it now."""
        self._snapshot = snapshot
        return list(self._sweep(at))

    def tick(self, at: float) -> list[Push]:
        """Return what has been held back for long enough."""
        clusters = self._subscriptions.get(CLUSTER)
        if clusters is None or clusters.outstanding is None or self._holds(clusters, at):
            return []
        return list(self._sweep(at))

    @property
    def in_sync(self) -> bool:
        """Whether the client has acknowledged all that it shall have."""
        return not any(
            subscription.owes(self._resources(type_url))
            for type_url, subscription in self._subscriptions.items()
        )

    def status(self) -> tuple[TypeStatus, ...]:
        """Describe each type, in make-before-break order."""
        return tuple(subscription.status() for subscription in self._ordered())

    def _resources(self, type_url: str) -> tuple[Resource, ...]:
        return self._snapshot.get(type_url, ())

    def _ordered(self) -> list[Subscription]:
        known = [self._subscriptions[url] for url in TYPE_URLS if url in self._subscriptions]
        if len(known) == len(self._subscriptions):
            return known
        return known + [
            subscription
            for type_url, subscription in self._subscriptions.items()
            if type_url not in TYPE_URLS
        ]

    def _answer(
        self,
        subscription: Subscription,
        request: discovery_pb2.DeltaDiscoveryRequest,
        at: float,
    ) -> None:
        waiting = subscription.outstanding
        if waiting is None or request.response_nonce != waiting.nonce:
            # A change of interest only, or the answer to a response of long ago.
            return
        if request.HasField("error_detail"):
            nack = subscription.reject(request.error_detail.message, at)
            if self._answers is not None:
                self._answers.nacked(subscription.type_url, nack)
        else:
            subscription.acknowledge()
            if self._answers is not None:
                self._answers.acked(subscription.type_url, at - waiting.at)

    def _sweep(self, at: float) -> Iterator[Push]:
        ordered = self._ordered()
        held = False
        for subscription in ordered:
            if held and subscription.type_url in _HELD:
                continue
            batch = subscription.upserts(self._resources(subscription.type_url))
            if batch is not None:
                yield self._push(subscription, batch, at)
            if subscription.type_url == CLUSTER:
                held = self._holds(subscription, at)
        if self._settled():
            for subscription in reversed(ordered):
                batch = subscription.removals(self._resources(subscription.type_url))
                if batch is not None:
                    yield self._push(subscription, batch, at)

    @staticmethod
    def _holds(clusters: Subscription, at: float) -> bool:
        waiting = clusters.outstanding
        return waiting is not None and waiting.adds and at - waiting.at < HOLD_SECONDS

    def _settled(self) -> bool:
        for type_url in _GATES:
            subscription = self._subscriptions.get(type_url)
            waiting = None if subscription is None else subscription.outstanding
            if waiting is not None and waiting.upserts:
                return False
        return True

    def _push(self, subscription: Subscription, batch: Batch, at: float) -> Push:
        self._nonce += 1
        nonce = f"{self._nonce:x}"
        header = discovery_pb2.DeltaDiscoveryResponse(
            system_version_info=nonce,
            type_url=subscription.type_url,
            nonce=nonce,
            removed_resources=batch.removed,
        ).SerializeToString()
        subscription.outstanding = Outstanding(nonce, batch.upserts, batch.adds, at)
        subscription.sent += 1
        if subscription.type_url == CLUSTER:
            endpoints = self._subscriptions.get(ENDPOINTS)
            if endpoints is not None:
                endpoints.warm(resource.name for resource in batch.upserts)
        body = b"".join((header, *(resource.wire for resource in batch.upserts)))
        return Push(subscription.type_url, body)
