"""How long calls may take."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager

import pytest

from mesh.demo.estate import HOST
from tests.traffic.bed import Bed
from tests.traffic.documents import http_route, policy
from tests.traffic.services import OUTSIDE

pytestmark = [pytest.mark.e2e, pytest.mark.alone, pytest.mark.asyncio(loop_scope="session")]

EARLY = 0.02
"""Seconds by which Envoy's clock, which it reads once per turn, may be ahead."""
PATIENCE = 0.9
"""Seconds that a busy host may add to a timeout."""
SLOW = """
- matches: [{path: {type: PathPrefix, value: /slow}}]
  default: {}
"""


def at(timeout: float, seconds: float) -> bool:
    """Whether what took ``seconds`` was ended by ``timeout``."""
    return timeout - EARLY <= seconds < timeout + PATIENCE


def slow(bed: Bed, delay: float) -> None:
    for name in ("api-1", "api-2", "api-3", "spare-1"):
        bed.apps[name].behaviour.delay = delay


async def drip(count: int, pause: float) -> AsyncIterator[bytes]:
    for _ in range(count):
        yield b"."
        await asyncio.sleep(pause)


async def open_for(bed: Bed, *, pause: float, words: int) -> float:
    """Talk to ``store`` now and then, then be silent; return the seconds until it is closed."""
    began = time.monotonic()
    reader, writer = await asyncio.open_connection(HOST, bed.port("store"))
    await reader.readline()
    for _ in range(words):
        writer.write(b".")
        assert await reader.readexactly(1) == b"."
        await asyncio.sleep(pause)
    try:
        assert await asyncio.wait_for(reader.read(), 5) == b""
    finally:
        writer.close()
    return time.monotonic() - began


@contextmanager
def deaf() -> Iterator[int]:
    """Listen where no connection can be made: nobody accepts, and the queue is full."""
    with socket.socket() as server:
        server.bind((HOST, 0))
        server.listen(0)
        queued = []
        try:
            for _ in range(4):
                client = socket.socket()
                queued.append(client)
                client.setblocking(False)  # noqa: FBT003 - as the library has it
                client.connect_ex(server.getsockname())
            yield server.getsockname()[1]
        finally:
            for client in queued:
                client.close()


async def test_request_timeout_ends_a_call_at_its_time_and_not_before(bed: Bed) -> None:
    await bed.apply(policy("MeshTimeout", "http: {requestTimeout: 400ms}"))
    slow(bed, 0.2)
    assert (await bed.call()).status == 200
    slow(bed, 1)
    answer = await bed.call()
    assert answer.status == 504
    assert at(0.4, answer.seconds)


async def test_request_timeout_of_one_service_leaves_the_others(bed: Bed) -> None:
    await bed.apply(policy("MeshTimeout", "http: {requestTimeout: 100ms}"))
    slow(bed, 0.3)
    assert (await bed.call()).status == 504
    assert (await bed.call(service="spare")).status == 200


async def test_request_timeout_of_a_route(bed: Bed) -> None:
    await bed.apply(
        http_route(SLOW, name="slow"),
        policy("MeshTimeout", "http: {requestTimeout: 100ms}", name="general"),
        policy("MeshTimeout", "http: {requestTimeout: 5s}", route="slow", name="special"),
    )
    slow(bed, 0.3)
    assert (await bed.call("/")).status == 504
    assert (await bed.call("/slow/report")).status == 200


async def test_request_timeout_at_the_callee_holds_for_every_caller(bed: Bed) -> None:
    timeout = {"default": {"http": {"requestTimeout": "100ms"}}}
    proxies = {"kind": "Dataplane", "labels": {"service": "spare"}}
    spec = {"targetRef": proxies, "rules": [timeout]}
    await bed.apply({"type": "MeshTimeout", "name": "at-spare", "spec": spec})
    slow(bed, 0.3)
    for caller in ("web", "admin"):
        assert (await bed.call(service="spare", caller=caller)).status == 504
    assert (await bed.call()).status == 200


async def test_stream_idle_timeout_ends_only_what_is_silent(bed: Bed) -> None:
    await bed.apply(policy("MeshTimeout", "http: {streamIdleTimeout: 400ms}"))
    async with bed.session.post(bed.url("api"), data=drip(8, 0.1)) as answer:
        assert answer.status == 200
    slow(bed, 1)
    silent = await bed.call()
    assert silent.status in {408, 504}
    assert at(0.4, silent.seconds)


async def test_per_try_timeout_lets_another_instance_answer(bed: Bed) -> None:
    retry = "http: {numRetries: 2, perTryTimeout: 250ms, retryOn: [GatewayError]}"
    await bed.apply(
        policy("MeshRetry", retry),
        policy("MeshLoadBalancingStrategy", "loadBalancer: {type: RoundRobin}"),
    )
    bed.apps["api-2"].behaviour.delay = 0.6
    found = [await bed.call() for _ in range(6)]
    assert {answer.instance for answer in found} == {"api-1", "api-3"}
    assert bed.apps["api-2"].total > 0
    assert max(answer.seconds for answer in found) >= 0.25 - EARLY


async def test_connection_timeout_and_attempts_of_tcp(bed: Bed) -> None:
    with deaf() as port:
        spec = {"endpoints": [{"address": HOST, "port": port}]}
        await bed.apply(
            {"type": "MeshExternalService", "name": OUTSIDE, "spec": spec},
            policy("MeshTimeout", "connectionTimeout: 300ms", service=OUTSIDE),
        )
        began = time.monotonic()
        assert await bed.dial(OUTSIDE) == ""
        once = time.monotonic() - began
        await bed.apply(policy("MeshRetry", "tcp: {maxConnectAttempts: 3}", service=OUTSIDE))
        began = time.monotonic()
        assert await bed.dial(OUTSIDE) == ""
        thrice = time.monotonic() - began
    assert at(0.3, once)
    assert at(0.9, thrice)


async def test_connection_timeout_of_http(bed: Bed) -> None:
    with deaf() as port:
        spec = {"match": {"protocol": "http"}, "endpoints": [{"address": HOST, "port": port}]}
        await bed.apply(
            {"type": "MeshExternalService", "name": OUTSIDE, "spec": spec},
            policy("MeshTimeout", "connectionTimeout: 300ms", service=OUTSIDE),
            policy("MeshRetry", "http: {numRetries: 0}", service=OUTSIDE),
        )
        answer = await bed.call(service=OUTSIDE)
    assert answer.status == 503
    assert at(0.3, answer.seconds)


async def test_idle_timeout_ends_only_a_silent_tcp_connection(bed: Bed) -> None:
    await bed.apply(policy("MeshTimeout", "idleTimeout: 400ms", service="store"))
    assert at(0.4, await open_for(bed, pause=0, words=0))
    assert at(6 * 0.15 + 0.25, await open_for(bed, pause=0.15, words=6))


async def test_a_tcp_connection_ends_at_its_greatest_age(bed: Bed) -> None:
    await bed.apply(policy("MeshTimeout", "maxConnectionDuration: 500ms", service="store"))
    assert at(0.5, await open_for(bed, pause=0.1, words=3))
