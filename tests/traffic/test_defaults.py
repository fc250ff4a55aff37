"""What holds without any policy, as the table of defaults has it."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from mesh.demo.estate import HOST, free_ports
from tests.traffic.bed import Bed
from tests.traffic.services import OUTSIDE, PROTOCOLS

pytestmark = [pytest.mark.e2e, pytest.mark.asyncio(loop_scope="session")]

MANY = 1_000_000
MANAGER = "envoy.filters.network.http_connection_manager"
ROUTER = "envoy.filters.http.router"
TCP = "envoy.filters.network.tcp_proxy"
INTENTIONS = "inbound-connections"


@pytest_asyncio.fixture(loop_scope="session")
async def forgiving(bed: Bed) -> AsyncIterator[Bed]:
    """The estate for a test that has instances left out, which outlasts their behaviour."""
    yield bed
    for app in bed.apps.values():
        app.reset()
    await bed.renew()


async def in_turn(bed: Bed, count: int, **options: Any) -> Counter[str]:
    """Make ``count`` calls, never two at a time; count the statuses."""
    return Counter([str((await bed.call(**options)).status) for _ in range(count)])


async def forwarded(bed: Bed, service: str) -> list[dict[str, Any]]:
    """Return the actions of the routes on which ``web`` calls ``service``."""
    table = await bed.resource("web", "RouteConfiguration", service)
    routes = table["virtual_hosts"][0]["routes"]
    return [each["route"] for each in routes if "route" in each]


async def test_a_call_that_reached_nobody_is_made_elsewhere(bed: Bed) -> None:
    ports = (free_ports(1)[0], bed.apps["spare-1"].port)
    endpoints = [{"address": HOST, "port": port} for port in ports]
    spec = {"match": {"protocol": "http"}, "endpoints": endpoints}
    await bed.apply({"type": "MeshExternalService", "name": OUTSIDE, "spec": spec})
    assert await in_turn(bed, 40, service=OUTSIDE, method="POST", body=b"x") == {"200": 40}
    assert bed.apps["spare-1"].total == 40


async def test_a_call_that_reached_the_application_is_never_repeated(forgiving: Bed) -> None:
    bed = forgiving
    app = bed.apps["spare-1"]
    app.behaviour.failures, app.behaviour.status = MANY, 503
    for drops in (False, True):
        for method in ("POST", "GET"):
            app.behaviour.drops = drops
            before = app.total
            assert (await bed.call(service="spare", method=method)).status == 503
            assert app.total == before + 1


async def test_an_instance_is_left_out_after_five_gateway_errors(forgiving: Bed) -> None:
    bed = forgiving
    bad = bed.apps["api-1"]
    for status in (502, 503, 504):
        await bed.renew()
        bad.behaviour.failures, bad.behaviour.status = MANY, status
        found = await in_turn(bed, 60)
        # The next call or two may come before Envoy's main thread has left the instance out.
        assert 5 <= found[str(status)] <= 7
        assert found.total() == found[str(status)] + found["200"] == 60
        assert await in_turn(bed, 30) == {"200": 30}


async def test_an_instance_whose_application_is_gone_is_soon_left_out(forgiving: Bed) -> None:
    bed = forgiving
    async with bed.down("api-2"):
        found = await in_turn(bed, 60)
        assert found["503"] <= 7
        assert found.total() == found["503"] + found["200"]
        assert await in_turn(bed, 30) == {"200": 30}


async def test_an_instance_that_answers_500_is_not_left_out(bed: Bed) -> None:
    app = bed.apps["spare-1"]
    app.behaviour.failures, app.behaviour.status = MANY, 500
    assert await in_turn(bed, 10, service="spare") == {"500": 10}
    assert app.total == 10


async def test_requests_end_after_15_seconds_but_not_those_of_grpc(bed: Bed) -> None:
    for service, timeout in (("api", "15s"), ("spare", "15s"), ("greeter", "0s")):
        actions = await forwarded(bed, service)
        assert actions
        assert {each["timeout"] for each in actions} == {timeout}


async def test_retries_and_their_budget(bed: Bed) -> None:
    for service in ("api", "greeter"):
        for action in await forwarded(bed, service):
            retry = action["retry_policy"]
            conditions = set(retry["retry_on"].split(","))
            assert conditions == {"connect-failure", "refused-stream", "reset-before-request"}
            assert retry["num_retries"] == 2
            assert "per_try_timeout" not in retry
        cluster = await bed.resource("web", "Cluster", service)
        (limits,) = cluster["circuit_breakers"]["thresholds"]
        budget = {"budget_percent": {"value": 20.0}, "min_retry_concurrency": 10}
        assert limits == {"retry_budget": budget}


async def test_how_instances_are_called_and_chosen(bed: Bed) -> None:
    for service in PROTOCOLS:
        cluster = await bed.resource("web", "Cluster", service)
        assert cluster["connect_timeout"] == "5s"
        assert cluster["lb_policy"] == "LEAST_REQUEST"
        assert "health_checks" not in cluster
        outliers = cluster["outlier_detection"]
        assert outliers["consecutive_gateway_failure"] == 5
        assert "split_external_local_origin_errors" not in outliers
        assert outliers["base_ejection_time"] == "10s"
        assert outliers["max_ejection_percent"] == 50
        assert outliers["enforcing_consecutive_5xx"] == 0
        assert outliers["enforcing_success_rate"] == 0
        assert outliers["enforcing_failure_percentage"] == 0


def filters(listener: dict[str, Any]) -> list[str]:
    """Return the names of a listener's filters, those of HTTP included."""
    found = []
    for chain in listener["filter_chains"]:
        for each in chain["filters"]:
            found.append(each["name"])
            found += [one["name"] for one in each.get("typed_config", {}).get("http_filters", ())]
    return found


async def test_no_listener_has_a_filter_that_no_policy_asked_for(bed: Bed) -> None:
    outbound = await bed.resources("web", "Listener")
    for service, protocol in PROTOCOLS.items():
        (name,) = (name for name in outbound if name.startswith(f"outbound:{service}:"))
        expected = [TCP] if protocol == "tcp" else [MANAGER, ROUTER]
        assert filters(outbound[name]) == expected
    for instance, service in (("api-1", "api"), ("greeter-1", "greeter"), ("store-1", "store")):
        listeners = await bed.resources(service, "Listener", instance=instance)
        for listener in listeners.values():
            assert [name for name in filters(listener) if name != INTENTIONS] == [TCP]
