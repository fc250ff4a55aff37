"""What can be tuned about watching Consul."""

from __future__ import annotations

from dataclasses import dataclass, field

from mesh.sources.consul.guard import Rules


@dataclass(frozen=True, slots=True)
class WatchSettings:
    """Seconds, and numbers of requests.

    ``max_watches`` services are watched one by one; those beyond are swept, ``sweepers`` at a
    time.  Together with the client's other requests they must stay below the agent's
    ``http_max_conns_per_client`` (200).  ``wait`` is how long a blocking query may block.
    """

    max_watches: int = 128
    sweepers: int = 8
    wait: float = 55.0
    policy_every: float = 30.0
    backoff_base: float = 0.1
    backoff_cap: float = 10.0
    guard: Rules = field(default_factory=Rules)
