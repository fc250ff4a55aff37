"""What to try once a service is in the mesh."""

from __future__ import annotations

from collections.abc import Iterator

from mesh.vm.layout import Ports
from mesh.vm.request import Join


def next_steps(joined: Join, ports: Ports) -> Iterator[str]:
    """Yield sentences for the person who joined."""
    yield "\nTry next:"
    for each in joined.upstreams:
        service, _, place = each.partition(":")
        address = place if ":" in place else f"127.0.0.1:{place}"
        name = service.partition(".")[0]
        yield f"  curl http://{address}/        # {name}, if it speaks HTTP; when it is refused:"
        yield f"  mesh intention allow {joined.service} {name}   # where the zone is administered"
    if joined.capture is not None:
        yield "  curl http://<service>.mesh/   # as a user who is captured"
    yield f"  mesh intention allow <caller> {joined.service}   # let somebody call it"
    yield f"  curl http://127.0.0.1:{ports.listen}/ready"
    yield "  mesh vm status"
