"""What the mesh asks of Envoy's runtime: the bootstrap's static layer.

Plain JSON values, so that the agent can write them without protobuf.

Source: https://www.envoyproxy.io/docs/envoy/latest/configuration/operations/runtime.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

_LARGEST_PROGRAM: Final = 1_000_000

RUNTIME: Final[Mapping[str, bool | int]] = MappingProxyType(
    {
        # Envoy refuses regular expressions beyond 100 instructions: the names of five callers.
        # RE2 is linear whatever the size.
        "re2.max_program_size.error_level": _LARGEST_PROGRAM,
        "re2.max_program_size.warn_level": _LARGEST_PROGRAM,
        # Otherwise a command in a rate limit's descriptor would be sent as it is written.
        "envoy.reloadable_features.enable_formatter_for_ratelimit_action_descriptor_value": True,
    }
)
