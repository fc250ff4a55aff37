"""One proxy's stream: who it is, checked at its first request, and then a session.

The certificate says who the proxy is; the metadata of its Envoy node says what it needs.  The
two must name the same service and zone, or the stream ends with a message that names both.  The
node's id begins with the service, too.
"""

from __future__ import annotations

import logging
from typing import Final, Protocol

from envoy.config.core.v3 import base_pb2
from envoy.service.discovery.v3 import discovery_pb2
from google.protobuf.json_format import MessageToDict
from google.protobuf.message import DecodeError

from mesh.envoy.resource import Snapshot
from mesh.model import need_metadata
from mesh.model.identity import WorkloadId
from mesh.model.proxies import GATEWAYS, METADATA_KEY, ProxyNeed
from mesh.model.violations import InvalidInputError
from mesh.xds.grpc_framing import Status, StatusError
from mesh.xds.observer import Observer
from mesh.xds.peer import Peer
from mesh.xds.responses import Push
from mesh.xds.session import Session
from mesh.xds.status import Connected, Nack, ProxyStatus
from mesh.xds.subscription import ProtocolViolationError
from mesh.xds.transport import Connection

MAX_EARLY: Final = 64
"""Requests that a proxy may send before it is told anything."""
MAX_EARLY_BYTES: Final = 4 << 20
"""Bytes of them all together."""
MAX_UPSTREAMS: Final = 2048
"""Upstreams of one proxy: for each the zone asks Consul, whoever may have named it."""
_LONGEST_ID: Final = 256
"""Characters of a node's id: it goes into logs and listings."""
METHOD: Final = "/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources"

logger = logging.getLogger(__name__)


class RefusedError(Exception):
    """The directory has nothing for this proxy; the message says why and what to do."""


class Owner(Protocol):
    """What a stream needs from the server."""

    observer: Observer

    def now(self) -> float:
        """Return the monotonic time."""

    def wall(self) -> float:
        """Return the Unix time."""

    def admit(self, call: ProxyCall, identity: WorkloadId, need: ProxyNeed) -> Snapshot | None:
        """Register the proxy; raise :class:`RefusedError` if it gets nothing.

        None means that what it gets is offered later.
        """

    def leave(self, call: ProxyCall) -> None:
        """Forget the stream."""


class ProxyCall:
    """A ``DeltaAggregatedResources`` call."""

    __slots__ = (
        "_connected_at",
        "_early",
        "_need",
        "_node",
        "_offered",
        "_over",
        "_owner",
        "_session",
        "connection",
        "number",
        "peer",
        "stream",
    )

    def __init__(
        self, owner: Owner, connection: Connection, stream: int, number: int, peer: Peer
    ) -> None:
        """Wait for the first request of ``peer``."""
        self._owner = owner
        self._session: Session | None = None
        self._early: list[discovery_pb2.DeltaDiscoveryRequest] = []
        self._need: ProxyNeed | None = None
        self._offered: Snapshot | None = None
        self._node = ""
        self._connected_at = owner.wall()
        self._over = False
        self.connection = connection
        self.stream = stream
        self.number = number
        self.peer = peer

    # The transport's side

    def receive(self, message: bytes) -> None:
        """Take one request."""
        try:
            request = discovery_pb2.DeltaDiscoveryRequest.FromString(message)
        except DecodeError as error:
            raise self._refused(
                Status.INVALID_ARGUMENT, "not a DeltaDiscoveryRequest: malformed protobuf"
            ) from error
        if self._need is None:
            self._identify(request.node)
        if self._session is None:
            self._keep(request)
        else:
            self._queue(self._hear(self._session, request))

    def ended(self) -> None:
        """The stream is over."""
        if not self._over:
            self._over = True
            self._owner.leave(self)

    # The server's side

    def offer(self, snapshot: Snapshot) -> bool:
        """Keep the newest snapshot for :meth:`push`; False if one was waiting already."""
        first = self._offered is None
        self._offered = snapshot
        return first

    def push(self) -> None:
        """Send what the newest offered snapshot changes."""
        snapshot, self._offered = self._offered, None
        if snapshot is None or self._need is None or self._over:
            return
        if self._session is None:
            try:
                pushes = self._open(snapshot)
            except StatusError as error:
                # What it asked for early was no good; no request is under way to be answered so.
                self.connection.goodbye(error.status, error.message)
                return
        else:
            pushes = self._session.offer(snapshot, self._owner.now())
        if pushes:
            self._queue(pushes)
            self.connection.pump()

    def tick(self, now: float) -> None:
        """Send what was held back long enough."""
        if self._session is None:
            return
        pushes = self._session.tick(now)
        if pushes:
            self._queue(pushes)
            self.connection.pump()

    def connected(self) -> Connected | None:
        """Say who the proxy is; None before its first request."""
        if self._need is None:
            return None
        return Connected(self.number, self._node, self._need, self.connection.address)

    def status(self) -> ProxyStatus | None:
        """Describe the proxy; None before its first request."""
        if self._need is None:
            return None
        session = self._session
        return ProxyStatus(
            session=self.number,
            node=self._node,
            identity=self.peer.identity,
            need=self._need,
            address=self.connection.address,
            connected_at=self._connected_at,
            certificate_expires_at=self.peer.not_after,
            bytes_sent=self.connection.bytes_sent,
            types=session.status() if session is not None else (),
            in_sync=session is not None and self._offered is None and session.in_sync,
        )

    # The session's side

    def acked(self, type_url: str, seconds: float) -> None:
        """Count an acknowledgement."""
        self._owner.observer.on_ack(type_url, seconds)

    def nacked(self, type_url: str, nack: Nack) -> None:
        """Count and log a refusal."""
        self._owner.observer.on_nack(type_url, nack.names)
        logger.warning(
            "proxy %s refused %s; it keeps its last good version: %s",
            self._node,
            ", ".join(nack.names) or "a removal",
            nack.reason,
            extra={**self._facts(), "type_url": type_url, "resources": nack.names},
        )

    def _queue(self, pushes: list[Push]) -> None:
        for type_url, body in pushes:
            self.connection.send(self.stream, body)
            self._owner.observer.on_push(type_url, len(body))

    def _hear(self, session: Session, request: discovery_pb2.DeltaDiscoveryRequest) -> list[Push]:
        try:
            return session.receive(request, self._owner.now())
        except ProtocolViolationError as error:
            raise self._refused(Status.INVALID_ARGUMENT, str(error)) from error

    def _keep(self, request: discovery_pb2.DeltaDiscoveryRequest) -> None:
        """Remember what the proxy asks before there is an answer."""
        size = sum(each.ByteSize() for each in (*self._early, request))
        if len(self._early) >= MAX_EARLY or size > MAX_EARLY_BYTES:
            raise self._refused(
                Status.INVALID_ARGUMENT,
                f"more than {MAX_EARLY} requests, or {MAX_EARLY_BYTES} bytes, "
                "before the first answer",
            )
        self._early.append(request)

    def _open(self, snapshot: Snapshot) -> list[Push]:
        """Begin the session, now that there is something to say, with what was asked so far."""
        session = self._session = Session(snapshot, self)
        early, self._early = self._early, []
        return [push for request in early for push in self._hear(session, request)]

    def _identify(self, node: base_pb2.Node) -> None:
        self._node = node.id[:_LONGEST_ID]
        need = self._read_need(node)
        identity = self.peer.identity
        if (need.service, need.zone) != (identity.service, identity.zone):
            raise self._refused(
                Status.PERMISSION_DENIED,
                f"node {self._node!r} claims to be service {need.service!r} in zone {need.zone!r}, "
                f"but its certificate is for {identity.uri}: enrol the proxy for its own service",
            )
        reserved = GATEWAYS.get(need.role, "")
        if (reserved or need.service in GATEWAYS.values()) and need.service != reserved:
            # A gateway is told where every service answers, which is no sidecar's affair.
            raise self._refused(
                Status.PERMISSION_DENIED,
                f"node {self._node!r} asks for the configuration of a {need.role.value} as "
                f"{identity.uri}: gateways, and nobody else, are the services "
                f"{', '.join(sorted(GATEWAYS.values()))}, each its own",
            )
        if len(need.upstreams) > MAX_UPSTREAMS:
            raise self._refused(
                Status.INVALID_ARGUMENT,
                f"{len(need.upstreams)} upstreams: at most {MAX_UPSTREAMS} are served to one proxy",
            )
        service, _, instance = node.id.partition("/")
        if service != identity.service or not instance or node.id != self._node:
            # Operators find a proxy by this: it must not pass for another's.
            raise self._refused(
                Status.PERMISSION_DENIED,
                f"node id {self._node!r} must be '{identity.service}/<instance>', "
                f"of at most {_LONGEST_ID} characters",
            )
        try:
            snapshot = self._owner.admit(self, identity, need)
        except RefusedError as error:
            raise self._refused(Status.PERMISSION_DENIED, str(error)) from error
        self._need = need
        logger.info("proxy %s connected", node.id, extra=self._facts())
        if snapshot is not None:
            self._session = Session(snapshot, self)

    def _read_need(self, node: base_pb2.Node) -> ProxyNeed:
        raw = node.metadata.fields.get(METADATA_KEY)
        if raw is None or raw.WhichOneof("kind") != "struct_value":
            raise self._refused(
                Status.INVALID_ARGUMENT,
                f"the first request of a stream must carry node.metadata[{METADATA_KEY!r}], an "
                "object that says what the proxy needs",
            )
        try:
            return need_metadata.parse(MessageToDict(raw.struct_value))
        except InvalidInputError as error:
            raise self._refused(Status.INVALID_ARGUMENT, str(error)) from error

    def _refused(self, status: Status, message: str) -> StatusError:
        self._owner.observer.on_refused(status.name)
        logger.warning("xDS stream refused: %s", message, extra=self._facts())
        return StatusError(status, message)

    def _facts(self) -> dict[str, object]:
        return {
            "session": self.number,
            "node": self._node,
            "identity": self.peer.identity.uri,
            "peer": self.connection.address,
        }
