"""Inbound policies together, coming and going under load, and limits of connections."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import aiohttp
import pytest

from mesh.demo.estate import HOST
from tests.traffic.bed import Bed
from tests.traffic.callee import always, at, rules, statuses
from tests.traffic.documents import policy
from tests.traffic.services import CALLERS
from tests.traffic.waiting import until

pytestmark = [pytest.mark.e2e, pytest.mark.asyncio(loop_scope="session")]

ABORT = "{http: {abort: {httpStatus: %d, percentage: 100}}}"
LIMIT = "{local: {http: {requestRate: {num: 1, interval: 1h}}}}"


async def test_each_request_meets_the_first_rule_of_each_kind(bed: Bed) -> None:
    faults = f"""
    - matches: [{{path: {{type: PathPrefix, value: /a/b}}}}]
      default: {ABORT % 418}
    - matches: [{{path: {{type: PathPrefix, value: /a}}, source: {{service: admin}}}}]
      default: {ABORT % 420}
    """
    limits = """
    - matches: [{path: {type: PathPrefix, value: /a}}]
      default: {local: {http: {requestRate: {num: 2, interval: 1h}, perCaller: true}}}
    - matches: [{method: POST}]
      default:
        local:
          http: {requestRate: {num: 1, interval: 1h}, onRateLimit: {status: 503}}
    """
    timeouts = at("/a/slow", "{http: {requestTimeout: 200ms}}")
    await bed.apply(
        rules("MeshFaultInjection", faults, service="spare"),
        rules("MeshRateLimit", limits, service="spare"),
        rules("MeshTimeout", timeouts, service="spare"),
    )

    async def found(path: str, count: int = 1, **more: str) -> list[int]:
        return await statuses(bed, count, path, service="spare", **more)

    # The fault's first rule, and the limit's.
    assert await found("/a/b", 3) == [418, 418, 429]
    # Admin has a bucket of its own, and meets the fault's second rule.
    assert await found("/a/c", 3, caller="admin") == [420, 420, 429]
    # Neither path: only the limit's second rule is left.
    assert await found("/z", 2, method="POST") == [200, 503]
    assert await found("/z", 3) == [200] * 3
    # The bucket of web is empty, whatever the rest of the request is like.
    assert await found("/a/slow", method="POST") == [429]
    await bed.delete("MeshRateLimit", "policy")
    bed.apps["spare-1"].behaviour.delay = 1
    await bed.renew()
    assert await found("/a/slow") == [504]
    assert await found("/a/slow", caller="admin") == [420]


async def test_a_rule_for_some_proxies_goes_before_one_for_all(bed: Bed) -> None:
    kind = "MeshFaultInjection"
    everywhere = rules(kind, at("/x", ABORT % 418), name="everywhere")
    everywhere["spec"]["targetRef"] = {"kind": "Mesh"}
    await bed.apply(everywhere, rules(kind, at("/x/y", ABORT % 420), name="some", version="v2"))
    assert set(await bed.tally(30, "/x/y")) == {"418", "420"}
    assert set(await bed.tally(30, "/x/z")) == {"418"}
    assert await statuses(bed, 2, "/x", service="spare") == [418] * 2


@pytest.mark.parametrize("others", [True, False], ids=["and others stay", "and was the last"])
async def test_an_open_connection_outlives_the_policy_that_judged_it(
    bed: Bed, *, others: bool
) -> None:
    """It carries one more request by the old filters, and is closed behind the answer."""
    limit = "{local: {http: {requestRate: {num: 100000, interval: 1s}}}}"
    if others:
        await bed.apply(always("MeshTimeout", PATIENT, service="spare", name="stands"))
    await bed.apply(always("MeshRateLimit", limit, service="spare", name="goes"))
    assert await statuses(bed, 1, service="spare") == [200]
    await bed.delete("MeshRateLimit", "goes")
    assert await statuses(bed, 4, service="spare") == [200] * 4


@asynccontextmanager
async def load(bed: Bed, clients: int = 6) -> AsyncIterator[Counter[str]]:
    """Call ``api`` again and again within the block; give how the calls ended."""
    found: Counter[str] = Counter()
    ends = asyncio.Event()

    async def client(number: int) -> None:
        caller = CALLERS[number % len(CALLERS)]
        async with aiohttp.ClientSession() as session:
            while not ends.is_set():
                try:
                    async with session.get(bed.url("api", "/load", caller=caller)) as answer:
                        await answer.read()
                        found[str(answer.status)] += 1
                except aiohttp.ClientError as error:
                    found[type(error).__name__] += 1
                await asyncio.sleep(0.002)

    async with asyncio.TaskGroup() as group:
        for number in range(clients):
            group.create_task(client(number))
        try:
            yield found
        finally:
            ends.set()


COMING = {
    "MeshFaultInjection": at("/never", ABORT % 418),
    "MeshRateLimit": at("/load", "{local: {http: {requestRate: {num: 100000, interval: 1s}}}}"),
    "MeshExternalAuthorization": at("/never", "{disabled: true}"),
}
PATIENT = "{http: {requestTimeout: 9s}}"


async def come_and_go(bed: Bed, found: Counter[str]) -> None:
    """Let policies come and go under load, until what they replaced has been drained."""
    for kind, what in COMING.items():
        await bed.apply(rules(kind, what, name="comes"), anew=False)
        await more(found)
    for kind in COMING:
        await bed.delete(kind, "comes")
        await more(found)
    await undrained(bed)
    await more(found)


async def test_inbound_policies_come_and_go_under_load_without_a_failed_request(bed: Bed) -> None:
    """A filter that is new or gone makes a new chain of filters.

    Each connection of the old one carries one more answer, which closes it: nothing is under way
    any more when the old chain ends, after seconds.
    """
    await bed.apply(always("MeshTimeout", PATIENT, name="stands"))
    async with load(bed) as found:
        await come_and_go(bed, found)
    assert found.keys() == {"200"}, found


async def test_the_first_inbound_policy_comes_under_load_and_retries_lose_no_request(
    bed: Bed,
) -> None:
    """Without any HTTP policy the callee passes bytes on and knows no requests.

    So the connections of that time end, after seconds, with what is under way.  The callers'
    proxies repeat what may be repeated.
    """
    again = """
    http:
      numRetries: 3
      retryOn: [Reset, ConnectFailure, HttpMethodGet]
      budget: {minConcurrency: 20}
    """
    await bed.apply(policy("MeshRetry", again))
    async with load(bed) as found:
        await come_and_go(bed, found)
    assert found.keys() == {"200"}, found


async def more(found: Counter[str], count: int = 60) -> None:
    """Wait until ``count`` more calls have ended."""
    wanted = found.total() + count

    async def ask() -> bool | None:
        return True if found.total() >= wanted else None

    await until("calls have ended", ask)


async def undrained(bed: Bed) -> None:
    """Wait until no proxy of ``api`` has connections left that are drained."""

    async def ask() -> bool | None:
        for name in ("api-1", "api-2", "api-3"):
            (socket,) = bed.estate.services[name].state.glob("envoy-?.sock")
            connector = aiohttp.UnixConnector(path=str(socket))
            async with (
                aiohttp.ClientSession(connector=connector) as session,
                session.get("http://envoy/stats?filter=_draining$") as answer,
            ):
                lines = (await answer.text()).split("\n")
                if any(line and not line.endswith(": 0") for line in lines):
                    return None
        return True

    await until("nothing is drained any more", ask)


async def test_connections_at_once_are_limited_by_consul(bed: Bed) -> None:
    await bed.entry("service-defaults", "store", Protocol="tcp", MaxInboundConnections=2)
    async with AsyncExitStack() as stack:
        greeted = Counter([await _greeting(bed, stack) for _ in range(14)])
        assert greeted == {"store-1": 2, "store-2": 2, "": 10}

    async def again() -> str | None:
        return await bed.dial() or None

    # Whoever leaves makes room.
    await until("there is room again", again)


async def _greeting(bed: Bed, stack: AsyncExitStack) -> str:
    """Open a connection that ``stack`` closes; return what the application says."""
    reader, writer = await asyncio.open_connection(HOST, bed.port("store"))
    stack.callback(writer.close)
    try:
        return (await asyncio.wait_for(reader.readline(), 10)).decode().strip()
    except ConnectionError:
        return ""


async def test_an_inbound_policy_concerns_no_other_service(bed: Bed) -> None:
    await bed.apply(always("MeshFaultInjection", ABORT % 418, service="spare"))
    assert await statuses(bed, 2, service="spare") == [418] * 2
    assert await statuses(bed, 4, service="api") == [200] * 4
    assert (await bed.rpc()).startswith("greeter-")


async def test_what_inbound_policies_did_is_counted(bed: Bed) -> None:
    await bed.apply(
        rules("MeshRateLimit", at("/limited", LIMIT), service="spare"),
        rules("MeshFaultInjection", at("/bad", ABORT % 418), service="spare"),
        rules("MeshRequestAuthentication", at("/users", "{providers: [none]}"), service="spare"),
    )
    assert await statuses(bed, 3, "/limited", service="spare") == [200, 429, 429]
    assert await statuses(bed, 2, "/bad", service="spare") == [418, 418]
    assert await statuses(bed, 2, "/users", service="spare") == [403, 403]
    place = bed.estate.services["spare-1"].ready_port
    async with bed.session.get(f"http://{HOST}:{place}/metrics") as answer:
        lines = (await answer.text()).splitlines()
    for name in ("rate_limited", "fault_aborts_injected", "jwt_authn_denied"):
        found = [line for line in lines if name in line and not line.startswith("#")]
        assert max(float(line.rpartition(" ")[2]) for line in found) >= 2, name
