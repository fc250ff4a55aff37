"""The changes of the bench ``xds``: what is written, and what must reach whom.

Each change is one request to the registry.  It goes into the model of the estate too, so that
what every proxy must be given, down to the version of the endpoints, is known beforehand.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final

from mesh.clients.consul import ConsulClient
from mesh.envoy.resource import CLUSTER, ENDPOINTS, EXTENSION, LISTENER, ROUTE, SECRET
from mesh.model.proxies import Upstream
from mesh.model.services import Health, Instance
from mesh.render.outbound import listener_name
from tests.bench.driver import Expected
from tests.bench.shape import (
    Operation,
    Service,
    Shape,
    applied,
    check,
    deregistration,
    host,
    http_route,
    intentions,
    registration,
    splitter,
)
from tests.bench.zone import BenchError

_PEERS: Final = "inbound-peers"
_RULES: Final = "inbound-connections"


@dataclass(frozen=True, slots=True)
class Change:
    """One write, and all that follows from it."""

    kind: str
    write: Callable[[], Awaitable[object]]
    expected: Sequence[Expected]

    @property
    def reaches(self) -> int:
        """The number of proxies that must be given something."""
        return len({number for one in self.expected for number in one.proxies})


def instance_changes(shape: Shape, client: ConsulClient, count: int) -> Iterator[Change]:
    """Yield ``count`` changes of random instances; one is in force before the next is drawn."""
    needed = [one for one in shape.services.values() if shape.reached_by(one)]
    kinds = (_move, _fail, _add, _remove)
    for number in range(count):
        # Nothing may be left without an instance: sudden emptiness is another matter.
        choice = [one for one in needed if len(one.usable()) > 1]
        if not choice:
            raise BenchError("too few instances for so many changes: give more --instances")
        service = shape.random.choice(choice)
        kind = kinds[number % len(kinds)]
        operations = kind(shape, service)

        def write(operations: Sequence[Operation] = operations) -> Awaitable[object]:
            return client.txn(operations)

        expected = Expected(ENDPOINTS, service.name, shape.reached_by(service), service.version())
        yield Change(kind.__name__.strip("_"), write, [expected])


def intention_changes(shape: Shape, client: ConsulClient, count: int) -> Iterator[Change]:
    """Yield ``count`` changes: an allowed call is denied, then allowed again, and so on."""
    pairs = [
        (shape.services[caller], callee)
        for callee in shape.services.values()
        for caller in callee.callers
        if callee.proxies and shape.services[caller].proxies
    ]
    if not pairs:
        raise BenchError("no caller and callee both have a proxy: give more --proxies")
    for number in range(count):
        deny = number % 2 == 0
        if deny:
            caller, callee = shape.random.choice(pairs)
        entry = intentions(callee, denied=caller.name if deny else "")

        def write(entry: dict[str, object] = entry) -> Awaitable[object]:
            return client.config_put(entry)

        expected = [*_at_callee(callee), *_at_caller(shape, caller, callee, deny=deny)]
        yield Change("deny" if deny else "allow", write, expected)


def policy_changes(shape: Shape, client: ConsulClient, count: int) -> Iterator[Change]:
    """Yield ``count`` changes of a MeshHTTPRoute's weights, which concern everybody."""
    service = shape.common.name
    for weight in _weights(count):
        operation = applied(http_route(service, weight))

        def write(operation: Operation = operation) -> Awaitable[object]:
            return client.txn([operation])

        yield Change("policy", write, [_routed_otherwise(shape)])


def entry_changes(shape: Shape, client: ConsulClient, count: int) -> Iterator[Change]:
    """Yield ``count`` changes of a service-splitter's weights, which concern everybody."""
    service = shape.common.name
    for weight in _weights(count):
        entry = splitter(service, weight)

        def write(entry: dict[str, object] = entry) -> Awaitable[object]:
            return client.config_put(entry)

        yield Change("entry", write, [_routed_otherwise(shape)])


def _weights(count: int) -> Iterator[int]:
    """Yield weights of which none is the one before."""
    return (20 + number % 60 for number in range(count))


def _routed_otherwise(shape: Shape) -> Expected:
    return Expected(ROUTE, shape.common.name, range(shape.size.proxies))


def _at_callee(callee: Service) -> Iterator[Expected]:
    yield Expected(SECRET, _PEERS, callee.proxies)
    yield Expected(EXTENSION, _RULES, callee.proxies)


def _at_caller(shape: Shape, caller: Service, callee: Service, *, deny: bool) -> Iterator[Expected]:
    yield Expected(CLUSTER, callee.name, caller.proxies, gone=deny)
    if not deny:
        yield Expected(ENDPOINTS, callee.name, caller.proxies, callee.version())
    if callee.is_http:
        yield Expected(ROUTE, callee.name, caller.proxies)
    else:
        yield Expected(LISTENER, listener_name(_bound(shape, caller, callee)), caller.proxies)


def _bound(shape: Shape, caller: Service, callee: Service) -> Upstream:
    return next(one for one in shape.upstreams(caller) if one.service == callee.name)


def _move(shape: Shape, service: Service) -> Sequence[Operation]:
    place = _any(shape, service)
    before = service.instances[place]
    fresh = shape.new_instance(service.name)
    after = replace(before, address=fresh.address, port=fresh.port)
    service.instances[place] = after
    return registration(service.name, after)


def _fail(shape: Shape, service: Service) -> Sequence[Operation]:
    place = _any(shape, service)
    after = replace(service.instances[place], health=Health.CRITICAL)
    service.instances[place] = after
    return (check(service.name, after),)


def _add(shape: Shape, service: Service) -> Sequence[Operation]:
    fresh: Instance = shape.new_instance(service.name)
    service.instances.append(fresh)
    return host(fresh), *registration(service.name, fresh)


def _remove(shape: Shape, service: Service) -> Sequence[Operation]:
    return deregistration(service.name, service.instances.pop(_any(shape, service)))


def _any(shape: Shape, service: Service) -> int:
    """Draw an instance that is in use."""
    return shape.random.choice(service.usable())
