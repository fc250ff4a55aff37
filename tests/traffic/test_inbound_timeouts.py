"""How long a call may take at the callee's own proxy."""

from __future__ import annotations

import asyncio
import time

import pytest

from mesh.demo.estate import HOST
from tests.traffic.bed import Bed
from tests.traffic.callee import always, answered, at, rules, statuses

pytestmark = [pytest.mark.e2e, pytest.mark.asyncio(loop_scope="session")]

KIND = "MeshTimeout"


async def test_inbound_request_timeout(bed: Bed) -> None:
    await bed.apply(always(KIND, "{http: {requestTimeout: 300ms}}", service="spare"))
    bed.apps["spare-1"].behaviour.delay = 5
    late = await bed.call(service="spare")
    assert late.status == 504
    assert 0.29 < late.seconds < 4
    bed.apps["spare-1"].behaviour.delay = 0
    assert await statuses(bed, 2, service="spare") == [200] * 2


async def test_inbound_request_timeout_by_path_and_caller(bed: Bed) -> None:
    timeouts = f"""
    {at("/quick", "{http: {requestTimeout: 300ms}}")}
    - matches: [{{source: {{service: admin}}}}]
      default: {{http: {{requestTimeout: 400ms}}}}
    """
    await bed.apply(rules(KIND, timeouts, service="spare"))
    bed.apps["spare-1"].behaviour.delay = 1
    calls = (
        bed.call("/quick", service="spare"),
        bed.call("/slow", service="spare"),
        bed.call("/slow", service="spare", caller="admin"),
    )
    assert [each.status for each in await asyncio.gather(*calls)] == [504, 200, 504]


async def test_inbound_idle_timeout_of_a_request(bed: Bed) -> None:
    await bed.apply(always(KIND, "{http: {streamIdleTimeout: 300ms}}", service="spare"))
    bed.apps["spare-1"].behaviour.delay = 5
    late = await bed.call(service="spare")
    assert late.status == 504
    assert late.seconds < 4


async def test_inbound_timeout_of_a_grpc_call(bed: Bed) -> None:
    await bed.apply(always(KIND, "{http: {requestTimeout: 300ms}}", service="greeter"))
    for name in ("greeter-1", "greeter-2"):
        bed.apps[name].behaviour.delay = 5
    began = time.monotonic()
    assert await bed.rpc() == "UNAVAILABLE"
    assert time.monotonic() - began < 4


async def test_inbound_idle_timeout_of_a_connection(bed: Bed) -> None:
    await bed.apply(always(KIND, "{idleTimeout: 300ms}", service="store"))
    reader, writer = await asyncio.open_connection(HOST, bed.port("store"))
    try:
        assert (await reader.readline()).startswith(b"store-")
        for _ in range(4):
            # What carries something stays.
            writer.write(b"more\n")
            assert await reader.readline() == b"more\n"
        began = time.monotonic()
        assert await asyncio.wait_for(reader.read(), 5) == b""
        assert 0.2 < time.monotonic() - began < 4
    finally:
        writer.close()


async def test_local_request_timeout_of_consul(bed: Bed) -> None:
    await bed.entry("service-defaults", "spare", Protocol="http", LocalRequestTimeoutMs=300)
    bed.apps["spare-1"].behaviour.delay = 1
    await answered(bed, 504, service="spare")
    # A policy is asked first.
    await bed.apply(always(KIND, "{http: {requestTimeout: 9s}}", service="spare"))
    await answered(bed, 200, service="spare")
