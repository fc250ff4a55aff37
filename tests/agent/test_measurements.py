"""What the agent tells of the calls of its proxy."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from mesh.agent import http, web
from mesh.agent.measurements import MOST, Measurements, read_hosts, read_stats
from mesh.agent.settings import AgentSettings
from mesh.demo.loopback import free_ports

STATS: dict[str, Any] = {
    "stats": [
        {"name": "cluster.v2.api.upstream_rq_2xx", "value": 20},
        {"name": "cluster.v2.api.upstream_rq_retry", "value": 9},
        {"name": "cluster.other.upstream_rq_2xx", "value": 1},
        {
            "histograms": {
                "details": [
                    {
                        "name": "cluster.v2.api.upstream_rq_time",
                        "totals": [
                            {"lower_bound": 0, "width": 0, "count": 1},
                            {"lower_bound": 3, "width": 0.1, "count": 2},
                            {"lower_bound": 100, "width": 10, "count": 17},
                        ],
                        "intervals": [],
                    }
                ]
            }
        },
    ]
}
HOSTS = {
    "cluster_statuses": [
        {
            "name": "v2.api",
            "host_statuses": [
                {
                    "address": {"socket_address": {"address": "127.0.0.1", "port_value": 7}},
                    # Envoy leaves out a value of zero.
                    "stats": [
                        {"name": "rq_error", "value": "9"},
                        {"name": "rq_success"},
                        {"name": "rq_total", "value": "9"},
                    ],
                }
            ],
        }
    ]
}


def test_counters_and_latencies_are_flat() -> None:
    assert read_stats(STATS, ["v2.api", "v1.api"]) == {
        "v2.api": {
            "upstream_rq_2xx": 20,
            "upstream_rq_retry": 9,
            "le/0": 1,
            "le/3.1": 2,
            "le/110": 17,
        }
    }


def test_hosts_are_counted_each() -> None:
    assert read_hosts(HOSTS) == {
        "v2.api": {"host/127.0.0.1:7/rq_error": 9, "host/127.0.0.1:7/rq_success": 0}
    }


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ("", 400),
        ("?hosts=true", 400),
        ("?" + "&".join(f"cluster=c{number}" for number in range(MOST + 1)), 400),
        ("?cluster=api", 503),
    ],
)
async def test_a_question_names_clusters_and_waits_for_envoy(query: str, status: int) -> None:
    address = ("127.0.0.1", free_ports(1)[0])
    asked = {"/measurements": Measurements(lambda: None).page}
    async with await web.serve(address, {}, asked):
        answer = await http.request(http.Server(*address), "GET", f"/measurements{query}")
        assert answer.status == status


@pytest.mark.parametrize(
    ("listen", "advertised", "place"),
    [
        ("127.0.0.1", None, ""),
        ("127.0.0.1", "10.0.0.7", ""),
        ("127.0.0.1", "127.0.0.1", "127.0.0.1:15020"),
        ("0.0.0.0", "10.0.0.7", "10.0.0.7:15020"),  # noqa: S104 - an agent's setting
        ("0.0.0.0", None, ":15020"),  # noqa: S104 - likewise
        ("::", "fd00::7", "[fd00::7]:15020"),
        ("10.0.0.8", "10.0.0.7", "10.0.0.8:15020"),
        ("agent.example", None, ""),
    ],
)
def test_the_zone_is_told_where_it_can_ask(
    listen: str, advertised: str | None, place: str, settings: AgentSettings
) -> None:
    said = dataclasses.replace(settings, listen=(listen, 15020), advertise_address=advertised)
    assert said.need("dc1").metrics == place
