"""Consul's HTTP API, as far as the mesh speaks it.

``client`` is what others use.  Below it: ``library`` has python-consul2 say what to ask,
``transport`` asks over pooled connections, ``answers`` holds what came back until somebody
reads it, ``errors`` says what went wrong in an operator's words.  ``intentions`` hides the two
dialects (1.8's own API, 1.9's configuration entries) behind one class; ``policies`` keeps
documents and their versions in the KV store.
"""

from mesh.clients.consul.address import ConsulAddress
from mesh.clients.consul.answers import (
    AgentService,
    Answer,
    HealthCheck,
    HealthEntry,
    KeyValue,
    TokenInfo,
)
from mesh.clients.consul.client import ConsulClient
from mesh.clients.consul.errors import (
    ConsulError,
    Forbidden,
    Malformed,
    Refused,
    Timeout,
    Unreachable,
    Unsupported,
)
from mesh.clients.consul.intentions import Dialect, Intentions

__all__ = [
    "AgentService",
    "Answer",
    "ConsulAddress",
    "ConsulClient",
    "ConsulError",
    "Dialect",
    "Forbidden",
    "HealthCheck",
    "HealthEntry",
    "Intentions",
    "KeyValue",
    "Malformed",
    "Refused",
    "Timeout",
    "TokenInfo",
    "Unreachable",
    "Unsupported",
]
