"""Where gRPC calls go, told by service and method."""

from __future__ import annotations

from collections import Counter

import pytest

from tests.traffic.answers import within
from tests.traffic.bed import Bed
from tests.traffic.documents import http_route
from tests.traffic.services import SUBSETS

pytestmark = [pytest.mark.e2e, pytest.mark.asyncio(loop_scope="session")]


async def routed(bed: Bed, rules: str) -> None:
    """Give ``greeter`` the subsets v1 and v2, and route calls to it by ``rules``."""
    await bed.entry("service-resolver", "greeter", Subsets=SUBSETS)
    await bed.apply(http_route(rules, service="greeter"))


async def answered(bed: Bed, method: str, count: int = 6) -> Counter[str]:
    return Counter([await bed.rpc(method) for _ in range(count)])


async def test_match_by_grpc_method(bed: Bed) -> None:
    await routed(
        bed,
        """
- matches: [{grpc: {service: demo.Greeter, method: Part}}]
  default: {backendRefs: [{kind: MeshService, name: greeter, subset: v2}]}
- default: {backendRefs: [{kind: MeshService, name: greeter, subset: v1}]}
""",
    )
    assert await answered(bed, "Part") == {"greeter-2": 6}
    assert await answered(bed, "Greet") == {"greeter-1": 6}
    assert bed.apps["greeter-2"].seen == {"Part": 6}


async def test_match_by_grpc_service(bed: Bed) -> None:
    await routed(
        bed,
        """
- matches: [{grpc: {service: demo.Greeter}}]
  default: {backendRefs: [{kind: MeshService, name: greeter, subset: v2}]}
- matches: [{grpc: {service: demo.Gree}}, {grpc: {service: demo.Greeter.Other}}]
  default: {backendRefs: [{kind: MeshService, name: greeter, subset: v1}]}
""",
    )
    assert await answered(bed, "Greet") == {"greeter-2": 6}
    assert await answered(bed, "Part") == {"greeter-2": 6}


async def test_match_by_another_grpc_service_is_no_match(bed: Bed) -> None:
    await routed(
        bed,
        """
- matches: [{grpc: {service: demo.Other}}, {grpc: {service: Greeter, method: Greet}}]
  default: {backendRefs: [{kind: MeshService, name: greeter, subset: v1}]}
- default: {backendRefs: [{kind: MeshService, name: greeter, subset: v2}]}
""",
    )
    assert await answered(bed, "Greet") == {"greeter-2": 6}


async def test_weights_of_grpc_calls(bed: Bed) -> None:
    await routed(
        bed,
        """
- default:
    backendRefs:
      - {kind: MeshService, name: greeter, subset: v1, weight: 1}
      - {kind: MeshService, name: greeter, subset: v2, weight: 3}
""",
    )
    found = await answered(bed, "Greet", 100)
    assert set(found) == {"greeter-1", "greeter-2"}
    assert within(found["greeter-2"], 100, 0.75)
