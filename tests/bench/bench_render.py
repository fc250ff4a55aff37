"""How fast the pure core makes configuration: everything from nothing, and what one change takes.

``python -m tests.bench.bench_render --services 1000 --instances 10 --upstreams 20``: a world and
renderers in this process, without a registry, a network or a proxy (see ``rendering``).  Times
are CPU time, so that a machine shared with others spoils them little.

A change that does not reach exactly who is concerned ends the bench with exit code 1.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from typing import Final

from mesh.model.proxies import ProxyNeed
from mesh.render.renderer import Renderer
from mesh.world.changes import Change
from mesh.world.reduce import reduce
from mesh.world.snapshot import World
from mesh.xds.collector import tune_gc
from tests.bench import rendering
from tests.bench.report import Figure, publish, quantile
from tests.bench.shape import Service, Shape, Size
from tests.bench.zone import BenchError

REPEAT: Final = 3
_CHANGES: Final = 20


def measure(size: Size, repeat: int = REPEAT) -> Iterator[Figure]:
    """Yield the figures of an estate of ``size``; those from nothing are the best of ``repeat``."""
    shape = Shape(size)
    world = rendering.world(rendering.changes(shape))
    once = [*rendering.ring(shape)]
    everybody = [shape.need(service) for service in shape.services.values()]
    tune_gc()
    found = [
        ("render_all", _best(lambda: _connected(world, once), repeat), "s"),
        ("connect_all", _best(lambda: _connected(world, everybody), repeat), "s"),
    ]
    renderer = _connected(world, everybody)
    tune_gc()
    some = next(one for one in shape.services.values() if one.callers)
    for callers, service in (("some", some), ("all", shape.common)):
        for way, changes in _changes(shape, service):
            reached = len(service.callers) if service is some else len(everybody)
            times = [_changed(renderer, changes[number % 2], reached) for number in range(_CHANGES)]
            for label, share in (("p50", 0.5), ("max", 1.0)):
                metric = f"render_change_{callers}_{way}_{label}"
                found.append((metric, quantile(times, share) * 1000, "ms"))
    for metric, value, unit in found:
        yield Figure("render", metric, value, unit, asdict(size))


def _changes(shape: Shape, service: Service) -> Iterator[tuple[str, tuple[Change, Change]]]:
    """Yield two changes of one route to ``service``, to be made in turn: by entry, by policy."""
    name = service.name
    yield "entry", (rendering.entries(shape, name, "/older"), rendering.entries(shape))
    yield "policy", (rendering.policies(shape, name, 20), rendering.policies(shape, name, 30))


def _best(run: Callable[[], object], repeat: int) -> float:
    times = []
    for _ in range(repeat):
        began = time.process_time()
        run()
        times.append(time.process_time() - began)
    return min(times)


def _connected(world: World, needs: Sequence[ProxyNeed]) -> Renderer:
    renderer = Renderer(world)
    for session, need in enumerate(needs):
        renderer.connect(session, need)
    return renderer


def _changed(renderer: Renderer, change: Change, reached: int) -> float:
    """Return how long ``change`` takes; its reduction into the world is left out."""
    world, touched = reduce(renderer.world, change)
    began = time.process_time()
    snapshots = renderer.advance(world, touched)
    took = time.process_time() - began
    if len(snapshots) != reached:
        raise BenchError(f"a change reached {len(snapshots)} sessions instead of {reached}")
    return took


def _parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="bench_render", description=__doc__.partition("\n")[0])
    parser.add_argument("--services", type=int, default=1000)
    parser.add_argument("--instances", type=int, default=10, help="of each service")
    parser.add_argument("--upstreams", type=int, default=20, help="of each service")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--repeat", type=int, default=REPEAT)
    options = parser.parse_args(arguments)
    if min(options.instances, options.upstreams, options.repeat) < 1 or options.services < 2:
        parser.error("at least 2 services, 1 instance, 1 upstream and 1 repetition are needed")
    return options


def main(arguments: list[str] | None = None) -> int:
    """Measure, print, and return the exit code."""
    options = _parse(arguments)
    size = Size(
        options.services, options.services, options.instances, options.upstreams, 1.0, options.seed
    )
    try:
        publish([*measure(size, options.repeat)])
    except BenchError as error:
        sys.stderr.write(f"bench render failed: {error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
