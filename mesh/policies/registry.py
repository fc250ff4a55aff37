"""Every kind of policy that there is.  Nothing else imports them all."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from mesh.policies.kind import Kind
from mesh.policies.kinds import (
    circuit_breaker,
    exported_services,
    external_authorization,
    external_service,
    fault_injection,
    gateway,
    health_check,
    http_route,
    load_balancing,
    passthrough,
    proxy_patch,
    rate_limit,
    request_authentication,
    retry,
    rollout,
    tcp_route,
    timeout,
    tls_mode,
)

_MODULES: Final = (
    http_route,
    tcp_route,
    timeout,
    retry,
    circuit_breaker,
    health_check,
    load_balancing,
    rollout,
    rate_limit,
    fault_injection,
    tls_mode,
    request_authentication,
    external_authorization,
    external_service,
    gateway,
    exported_services,
    passthrough,
    proxy_patch,
)

KINDS: Final[Mapping[str, Kind]] = MappingProxyType(
    {module.KIND.name: module.KIND for module in _MODULES}
)
"""Each kind by its name, in the order in which people meet them."""
