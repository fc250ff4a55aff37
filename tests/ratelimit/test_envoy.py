"""The service as real Envoys use it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import aiohttp
import pytest

from mesh.config.types import HostPort
from mesh.demo.loopback import HOST, free_ports
from tests.ratelimit.asking import Redis, ready
from tests.ratelimit.conftest import Start
from tests.realenvoy import running as running_envoy
from tests.waiting import until

pytestmark = pytest.mark.e2e

_TYPES: Final = "type.googleapis.com/envoy.extensions.filters"
_NAMESPACE: Final = "mesh.limits"
LIMITS: Final = {
    "user": {"requests_per_unit": 5, "unit": "HOUR"},
    "all": {"requests_per_unit": 100, "unit": "MINUTE"},
}


def _address(place: HostPort) -> dict[str, Any]:
    return {"socket_address": {"address": place.host, "port_value": place.port}}


def _rate_limit(*actions: Mapping[str, Any], limit: str) -> dict[str, Any]:
    """Return what makes a descriptor of ``actions`` that carries the limit called ``limit``."""
    metadata = {"metadata_key": {"key": _NAMESPACE, "path": [{"key": limit}]}}
    return {"actions": list(actions), "limit": {"dynamic_metadata": metadata}}


def _filters(*, deny: bool) -> list[dict[str, Any]]:
    metadata = {"metadata_namespace": _NAMESPACE, "value": LIMITS}
    limiter = {
        "domain": "web",
        "failure_mode_deny": deny,
        "timeout": "10s",
        "enable_x_ratelimit_headers": "DRAFT_VERSION_03",
        "rate_limit_service": {
            "transport_api_version": "V3",
            "grpc_service": {"envoy_grpc": {"cluster_name": "ratelimit"}},
        },
    }
    return [
        {
            "name": name,
            "typed_config": {"@type": f"{_TYPES}.http.{kind}", **config},
        }
        for name, kind, config in (
            ("metadata", "set_metadata.v3.Config", {"metadata": [metadata]}),
            ("ratelimit", "ratelimit.v3.RateLimit", limiter),
            ("router", "router.v3.Router", {}),
        )
    ]


def _listener(name: str, place: HostPort, host: Any, filters: Sequence[Any]) -> dict[str, Any]:
    manager = {
        "@type": f"{_TYPES}.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": name,
        "http_filters": list(filters),
        "route_config": {"virtual_hosts": [{"name": "all", "domains": ["*"], **host}]},
    }
    return {
        "name": name,
        "address": _address(place),
        "filter_chains": [{"filters": [{"name": "http", "typed_config": manager}]}],
    }


def _limited(name: str, *, deny: bool) -> dict[str, Any]:
    user = {"request_headers": {"header_name": "x-user", "descriptor_key": "user"}}
    host = {
        "routes": [{"match": {"prefix": "/"}, "route": {"cluster": "app"}}],
        "rate_limits": [
            _rate_limit(user, limit="user"),
            _rate_limit({"generic_key": {"descriptor_value": "all"}}, limit="all"),
        ],
    }
    return _listener(name, HostPort(HOST, 0), host, _filters(deny=deny))


def _cluster(name: str, place: HostPort, **more: Any) -> dict[str, Any]:
    endpoint = {"endpoint": {"address": _address(place)}}
    assignment = {"cluster_name": name, "endpoints": [{"lb_endpoints": [endpoint]}]}
    return {"name": name, "connect_timeout": "5s", "load_assignment": assignment, **more}


def _bootstrap(service: HostPort) -> str:
    options = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
    http2 = {
        "@type": f"type.googleapis.com/{options}",
        "explicit_http_config": {"http2_protocol_options": {}},
    }
    # Envoy limits no route that it answers itself, so the application is a listener of its own.
    app = HostPort(HOST, free_ports(1)[0])
    answering = {"routes": [{"match": {"prefix": "/"}, "direct_response": {"status": 200}}]}
    return json.dumps(
        {
            "admin": {"address": _address(HostPort(HOST, 0))},
            "static_resources": {
                "listeners": [
                    _limited("open", deny=False),
                    _limited("closed", deny=True),
                    _listener("app", app, answering, _filters(deny=False)[-1:]),
                ],
                "clusters": [
                    _cluster("app", app),
                    _cluster(
                        "ratelimit", service, typed_extension_protocol_options={options: http2}
                    ),
                ],
            },
        }
    )


@contextmanager
def envoy(directory: Path, service: HostPort) -> Iterator[dict[str, int]]:
    """Run an Envoy that asks ``service``; give the port of each listener."""
    directory.mkdir()
    with running_envoy(_bootstrap(service), directory) as ports:
        yield ports


async def ask(port: int, user: str) -> tuple[int, Mapping[str, str]]:
    """Return status and headers of a request by ``user``."""
    async with (
        aiohttp.ClientSession() as session,
        session.get(f"http://{HOST}:{port}/", headers={"x-user": user}) as response,
    ):
        return response.status, response.headers


async def statuses(ports: Sequence[int], user: str, times: int) -> list[int]:
    """Ask each port ``times``, all at once."""
    answers = await asyncio.gather(*(ask(port, user) for port in ports for _ in range(times)))
    return sorted(status for status, _ in answers)


async def test_limits_of_the_proxy_hold_and_are_told_to_callers(
    tmp_path: Path, instance: Start
) -> None:
    running = await instance()
    with envoy(tmp_path / "one", running.grpc) as ports:
        status, headers = await ask(ports["open"], "ann")
        assert status == 200
        # Envoy's own, from the statuses, and the service's.
        assert headers["x-ratelimit-limit"] == "5, 5;w=3600, 100;w=60"
        assert headers["x-ratelimit-remaining"] == headers["ratelimit-remaining"] == "4"
        assert headers["ratelimit-limit"] == "5, 5;w=3600, 100;w=60"
        for name in ("x-ratelimit-reset", "ratelimit-reset"):
            assert 0 < int(headers[name]) <= 3600
        assert await statuses([ports["open"]], "ann", 8) == [200] * 4 + [429] * 4
        status, headers = await ask(ports["open"], "ann")
        assert status == 429
        assert headers["ratelimit-remaining"] == "0"
        # Refusals took nothing of what all users share.
        status, headers = await ask(ports["open"], "bob")
        assert status == 200
        assert headers["x-ratelimit-remaining"] == "4"


async def test_two_envoys_and_two_instances_share_a_limit(
    tmp_path: Path, redis: Redis, instance: Start
) -> None:
    settings = {"url": redis.url, "timeout": "10s"}
    first, second = [await instance(redis=settings) for _ in range(2)]
    with (
        envoy(tmp_path / "one", first.grpc) as one,
        envoy(tmp_path / "two", second.grpc) as two,
    ):
        answered = await statuses([one["open"], two["open"]], "ann", 10)
        assert answered == [200] * 5 + [429] * 15


async def test_without_counters_the_policy_of_the_proxy_decides(
    tmp_path: Path, redis: Redis, instance: Start
) -> None:
    running = await instance(redis={"url": redis.url, "timeout": "10s"})

    async def is_ready() -> bool:
        return await ready(running.health)

    with envoy(tmp_path / "one", running.grpc) as ports:
        assert (await ask(ports["closed"], "ann"))[0] == 200
        await redis.kill()
        assert await statuses([ports["open"]], "ann", 8) == [200] * 8
        assert await statuses([ports["closed"]], "ann", 2) == [500] * 2
        await redis.start()
        await until(is_ready)
        assert await statuses([ports["closed"]], "ann", 6) == [200] * 5 + [429]
