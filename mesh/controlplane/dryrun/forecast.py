"""The zone as it is, and as other policies would make it.  Pure.

A renderer of its own is given the connected proxies, and then the other policies as the hub's
would be: what it then has for each proxy is what the zone would send.  (Until an entry that is
broken now is mended, that may differ: what the zone knows of better days is not known here.)
The instances of a service that nobody needed so far are taken to be none: only what is said of
them would be different.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from mesh.controlplane.dryrun.calls import Reach, reach, words
from mesh.envoy.resource import Snapshot
from mesh.model.proxies import ProxyNeed
from mesh.policies.document import Document
from mesh.policies.kinds.proxy_patch import PatchError
from mesh.render.renderer import Renderer
from mesh.world.changes import InstancesChanged, PoliciesChanged
from mesh.world.reduce import Touched, reduce
from mesh.world.snapshot import World

Policies = Mapping[tuple[str, str], Document]


@dataclass(frozen=True, slots=True)
class Proxy:
    """A connected proxy."""

    id: str
    need: ProxyNeed


@dataclass(frozen=True, slots=True)
class Changed:
    """A proxy whose configuration would change."""

    proxy: Proxy
    before: Snapshot
    after: Snapshot


@dataclass(frozen=True, slots=True)
class CallChange:
    """Calls of one service to another that would travel otherwise; ``proxies`` make them."""

    caller: str
    service: str
    proxies: tuple[str, ...]
    words: tuple[str, ...]
    before: Reach
    after: Reach


@dataclass(frozen=True, slots=True)
class Broken:
    """What could not be rendered any more: whose, by whom, why."""

    what: str
    reason: str


@dataclass(frozen=True, slots=True)
class Forecast:
    """What would change."""

    proxies: tuple[Changed, ...]
    calls: tuple[CallChange, ...]
    broken: tuple[Broken, ...]


def forecast(
    world: World, policies: Policies, proxies: Sequence[Proxy], rest: Callable[[], None]
) -> Forecast:
    """Return what ``policies``, in place of those of ``world``, would change for ``proxies``.

    ``rest`` is called between small pieces of work; what it raises ends it.
    """
    renderer = Renderer(world)
    for number, proxy in enumerate(proxies):
        renderer.connect(number, proxy.need)
        rest()
    _settle(renderer)
    before = {number: renderer.snapshot(number) or {} for number in range(len(proxies))}
    reached = _reached(renderer, proxies, rest)
    known = set(renderer.broken)
    _advance(renderer, *reduce(renderer.world, PoliciesChanged(policies)))
    rest()
    changed = [
        Changed(proxy, before[number], after)
        for number, proxy in enumerate(proxies)
        if (after := renderer.snapshot(number) or {}) != before[number]
    ]
    return Forecast(
        tuple(changed),
        tuple(_calls(reached, _reached(renderer, proxies, rest))),
        tuple(_broken(what, error) for what, error in renderer.broken.items() if what not in known),
    )


def _settle(renderer: Renderer) -> None:
    """Let the instances of everything needed be known."""
    while unknown := renderer.needed - renderer.world.instances.keys():
        world, touched = renderer.world, Touched()
        for service in unknown:
            world, more = reduce(world, InstancesChanged(service, ()))
            touched |= more
        renderer.advance(world, touched)


def _advance(renderer: Renderer, world: World, touched: Touched) -> None:
    renderer.advance(world, touched)
    _settle(renderer)


_Calls = dict[tuple[str, str], dict[str, Reach]]
"""By caller and service called, where the calls of each proxy may end."""


def _reached(renderer: Renderer, proxies: Sequence[Proxy], rest: Callable[[], None]) -> _Calls:
    found: defaultdict[tuple[str, str], dict[str, Reach]] = defaultdict(dict)
    made: dict[tuple[str, int], Reach] = {}
    for proxy in proxies:
        need, said = proxy.need, renderer.compositions.selection(proxy.need)
        for service in {upstream.called for upstream in need.upstreams}:
            compiled = renderer.compositions.traffic(need.service, said, service)
            # The compositions hold on to what they answered, so its identity is its name.
            key = (need.service, id(compiled))
            if key not in made:
                made[key] = reach(renderer.world, need.service, compiled)
            found[(need.service, service)][proxy.id] = made[key]
        rest()
    return found


def _calls(before: _Calls, after: _Calls) -> list[CallChange]:
    changes = []
    for (caller, service), reached in sorted(after.items()):
        # Proxies whose calls change in the same way are one change.
        alike: list[tuple[Reach, Reach, list[str]]] = []
        for proxy, now in reached.items():
            then = before[(caller, service)][proxy]
            if not words(then, now):
                continue
            for old, new, proxies in alike:
                if (old, new) == (then, now):
                    proxies.append(proxy)
                    break
            else:
                alike.append((then, now, [proxy]))
        changes += [
            CallChange(caller, service, tuple(sorted(proxies)), words(old, new), old, new)
            for old, new, proxies in alike
        ]
    return changes


def _broken(what: object, error: Exception) -> Broken:
    if isinstance(error, PatchError):
        return Broken(error.resource, f"{error.policy}: {error.reason}")
    return Broken(what if isinstance(what, str) else type(what).__name__, str(error))
