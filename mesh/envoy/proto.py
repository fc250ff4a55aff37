"""What every builder needs: the wrappers Any and Duration, and telling addresses from names."""

from __future__ import annotations

from datetime import timedelta
from ipaddress import ip_address
from typing import Any

from google.protobuf import any_pb2, duration_pb2


def typed(message: Any) -> any_pb2.Any:
    """Wrap ``message`` in a ``google.protobuf.Any``."""
    wrapped = any_pb2.Any()
    wrapped.Pack(message, deterministic=True)
    return wrapped


def duration(seconds: float) -> duration_pb2.Duration:
    """Return ``seconds`` as a protobuf duration."""
    value = duration_pb2.Duration()
    value.FromTimedelta(timedelta(seconds=seconds))
    return value


def is_ip(host: str) -> bool:
    """Return whether ``host`` is an address and no name that must be looked up."""
    try:
        ip_address(host)
    except ValueError:
        return False
    return True
