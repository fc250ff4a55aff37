"""Resources without content, and a client that behaves as Envoy does."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping

from envoy.service.discovery.v3 import discovery_pb2

from mesh.envoy.resource import CLUSTER, EXTENSION, LISTENER, TYPE_URLS, Resource, Snapshot
from mesh.xds.responses import Push
from mesh.xds.session import Session

BAD = "bad"
"""A version that the client refuses."""

Content = Mapping[str, Mapping[str, str]]
"""For each type URL, version by name."""


def resource(type_url: str, name: str, version: str) -> Resource:
    inner = discovery_pb2.Resource(name=name, version=version)
    wire = discovery_pb2.DeltaDiscoveryResponse(resources=[inner]).SerializeToString()
    return Resource(type_url, name, version, wire)


def snapshot(content: Content) -> Snapshot:
    return {
        type_url: tuple(resource(type_url, name, items[name]) for name in sorted(items))
        for type_url, items in content.items()
    }


def request(
    type_url: str,
    *,
    subscribe: Iterable[str] = (),
    unsubscribe: Iterable[str] = (),
    have: Mapping[str, str] | None = None,
    nonce: str = "",
    error: str = "",
) -> discovery_pb2.DeltaDiscoveryRequest:
    built = discovery_pb2.DeltaDiscoveryRequest(
        type_url=type_url,
        resource_names_subscribe=subscribe,
        resource_names_unsubscribe=unsubscribe,
        initial_resource_versions=have or {},
        response_nonce=nonce,
    )
    if error:
        built.error_detail.code = 3
        built.error_detail.message = error
    return built


def response(push: Push) -> discovery_pb2.DeltaDiscoveryResponse:
    return discovery_pb2.DeltaDiscoveryResponse.FromString(push.body)


class Client:
    """Two queues and what it holds; refuses a whole response for one :data:`BAD` resource."""

    def __init__(self, content: Content) -> None:
        """Connect to a session that shall give ``content``."""
        self.content = content
        self.session = Session(snapshot(content))
        self.have: dict[str, dict[str, str]] = {}
        self.names: dict[str, set[str]] = {}
        self.requests: deque[discovery_pb2.DeltaDiscoveryRequest] = deque()
        self.responses: deque[discovery_pb2.DeltaDiscoveryResponse] = deque()

    def change(self, content: Content) -> None:
        """Offer the session other content."""
        self.content = content
        self._arrive(self.session.offer(snapshot(content)))

    def subscribe(self, type_url: str, names: set[str]) -> None:
        """Ask for ``names``."""
        first = type_url not in self.names
        self.names.setdefault(type_url, set()).update(names)
        held = self.have.setdefault(type_url, {})
        if first or names:
            self.requests.append(request(type_url, subscribe=names, have=held if first else None))

    def unsubscribe(self, type_url: str, names: set[str]) -> None:
        """Ask no more for ``names``."""
        gone = self.names.get(type_url, set()) & names
        if not gone:
            return
        self.names[type_url] -= gone
        if type_url not in (CLUSTER, LISTENER):
            for name in gone:
                self.have[type_url].pop(name, None)
        self.requests.append(request(type_url, unsubscribe=gone))

    def reconnect(self) -> None:
        """Lose what was on the way and open a new stream."""
        self.requests.clear()
        self.responses.clear()
        self.session = Session(snapshot(self.content))
        for type_url, names in self.names.items():
            if names or type_url in (CLUSTER, LISTENER):
                self.requests.append(
                    request(
                        type_url,
                        subscribe=names | ({"*"} if type_url in (CLUSTER, LISTENER) else set()),
                        have=self.have[type_url],
                    )
                )
            else:
                self.requests.append(request(type_url))

    def serve(self) -> bool:
        """Let the session take one request."""
        if not self.requests:
            return False
        self._arrive(self.session.receive(self.requests.popleft()))
        return True

    def deliver(self) -> bool:
        """Take one response and answer it."""
        if not self.responses:
            return False
        taken = self.responses.popleft()
        refused = [one.name for one in taken.resources if one.version == BAD]
        if refused:
            self.requests.append(
                request(taken.type_url, nonce=taken.nonce, error=f"refused {refused}")
            )
            return True
        held = self.have[taken.type_url]
        for one in taken.resources:
            if self._wants(taken.type_url, one.name):
                held[one.name] = one.version
        for name in taken.removed_resources:
            held.pop(name, None)
        self.requests.append(request(taken.type_url, nonce=taken.nonce))
        return True

    def settle(self) -> None:
        """Let everything on the way arrive."""
        while self.serve() or self.deliver():
            pass

    def expected(self, type_url: str) -> dict[str, str]:
        """Return what the client shall end with."""
        return {
            name: version
            for name, version in self.content.get(type_url, {}).items()
            if self._wants(type_url, name)
        }

    def may_hold(self, type_url: str) -> set[str]:
        """Return the names that the client may end with: extensions stay until it gives them up."""
        return self.names[type_url] if type_url == EXTENSION else set(self.expected(type_url))

    def _wants(self, type_url: str, name: str) -> bool:
        return type_url in (CLUSTER, LISTENER) or name in self.names[type_url]

    def _arrive(self, pushes: list[Push]) -> None:
        self.responses.extend(response(push) for push in pushes)
        for type_url in TYPE_URLS:
            waiting = sum(one.type_url == type_url for one in self.responses)
            assert waiting <= 1, f"{waiting} unanswered responses of {type_url}"
