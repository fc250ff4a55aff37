"""What the bench ``zones`` makes of what it has seen."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from mesh.sources.zones.record import parse
from tests.bench.report import TIMES, Figure, table
from tests.bench.zone import BenchError
from tests.bench.zones import arrival, death, estate, generator, hops, knowledge
from tests.zones.load import Call

NOW = datetime(2026, 11, 23, 14, tzinfo=UTC)


def burst(cpu: float, requests: int, *, p50: float = 100.0) -> hops.Round:
    return hops.Round(generator.Burst(requests, 2.0, p50, 2 * p50), cpu)


def values(figures: list[Figure]) -> dict[str, float]:
    return {each.metric: each.value for each in figures}


def test_a_ratio_is_the_median_of_rounds_and_tells_its_spread() -> None:
    found = hops.Rounds(
        {
            "gateway": [burst(0.11, 10_000), burst(0.2, 10_000), burst(0.1, 10_000)],
            "plain": [burst(0.1, 10_000), burst(0.1, 10_000), burst(0.1, 10_000)],
        }
    )
    ratio, gateway, plain = hops.cpu_figures("gateway", "request", found, {"connections": 16})
    assert ratio.value == pytest.approx(1.1)
    assert (ratio.params["lowest"], ratio.params["highest"]) == (1.0, 2.0)
    assert gateway.metric == "gateway_cpu_per_request_us"
    assert gateway.value == pytest.approx(11)
    assert plain.value == pytest.approx(10)
    assert plain.params["rate"] == 5_000


def test_added_latency_is_told_against_whatever_was_measured() -> None:
    rounds = {"gateway": [burst(0, 1, p50=150)], "plain": [burst(0, 1, p50=120)]}
    added = hops.latency_figures(hops.Rounds(rounds), {})
    assert [(each.value, each.params["against"]) for each in added] == [
        (30, "plain"),
        (60, "plain"),
    ]
    more = hops.latency_figures(hops.Rounds({**rounds, "none": [burst(0, 1, p50=90)]}), {})
    assert [each.value for each in more] == [30, 60, 60, 120, 90, 180]


def test_a_ratio_is_shown_with_three_decimals() -> None:
    assert "1.034" in table([Figure("zones", "gateway_cpu_ratio", 1.0341, TIMES, {})])


def test_a_death_is_told_from_the_calls_around_it() -> None:
    calls = [
        Call(9.5, 0.01, "200", "api-1"),
        # Under way when it died.
        Call(9.99, 0.02, "503 reset", ""),
        Call(10.02, 0.03, "503 nobody", ""),
        Call(10.04, 0.06, "200", "api-2"),
        Call(10.2, 0.02, "200", "api-2"),
        Call(12.0, 0.01, "200", "api-1"),
    ]
    found = death.judge(calls, 10.0, 10.3, "api-1")
    assert found.to_other == pytest.approx(100)
    assert found.longest_gap == pytest.approx(120)
    assert found.failed == 2
    assert found.last_failure == pytest.approx(50)


@pytest.mark.parametrize(
    "call", [Call(10.1, 0.01, "200", "api-1"), Call(10.1, 0.01, "503 nobody", "")]
)
def test_a_death_that_nobody_noticed_or_stood_in_for_is_no_figure(call: Call) -> None:
    with pytest.raises(BenchError):
        death.judge([call], 10.0, 11.0, "api-1")


def test_every_failed_call_is_counted() -> None:
    made = [Call(1, 0.1, "200", "api-1"), Call(2, 0.1, "503", "")]
    found = values(death.figures([death.Death(5, 6, 1, 7)], made, {}))
    assert found["instance_death_to_other_ms_p99"] == 5
    assert found["instance_death_longest_gap_ms_max"] == 6
    assert (found["instance_death_calls"], found["instance_death_failed"]) == (2, 1)
    assert death.busiest(made[:1]) == "api-1"


def test_the_floor_of_a_registration_is_its_own_zone() -> None:
    found = values(arrival.figures({"a": [10.0], "b": [30.0]}, {}))
    assert found["registration_to_use_ms_p50"] == 30
    assert found["registration_to_use_floor_ms_p50"] == 10


def test_an_answer_may_come_in_pieces() -> None:
    answer = generator.Answer()
    assert not answer.feed(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n").is_whole
    assert not answer.feed(b"\r\nbo").is_whole
    assert answer.feed(b"dy").is_whole
    assert answer.is_ok
    assert not generator.Answer().feed(b"HTTP/1.1 503 No\r\ncontent-length: 0\r\n\r\n").is_ok


def test_the_last_line_of_wrk_is_read() -> None:
    assert generator.read('Running 1s test\n  1 threads\n\n{"failed": 0}\n') == {"failed": 0}


def test_a_record_is_one_that_zones_read_and_flips_one_service() -> None:
    said = estate.record("dc2", NOW, trust_domain="td.example", bundle="PEM", is_down=True)
    zone = parse(said.encode(), "it").zone
    assert (len(zone.services), len(zone.gateways)) == (estate.SERVICES, estate.GATEWAYS)
    down = [name for name, one in zone.services.items() if not one.answering()]
    assert down == [estate.only_in("dc2")]
    assert estate.only_in("dc2") not in estate.services("dc3")


def test_own_services_are_registered_once_each_with_their_gateways() -> None:
    ids = [each["Service"]["ID"] for each in estate.own()]
    assert len(ids) == len(set(ids)) == 2 * estate.SERVICES + estate.GATEWAYS


def test_each_change_is_another() -> None:
    turns = knowledge.turns(["dc2", "dc3"])
    assert len(turns) == knowledge.CHANGES
    assert turns[:5] == [
        ("dc2", True),
        ("dc3", True),
        ("dc2", False),
        ("dc3", False),
        ("dc2", True),
    ]


@pytest.mark.e2e
async def test_sockets_of_our_own_do_what_wrk_does(tmp_path: Path) -> None:
    async with hops.chain(tmp_path) as running:
        for way in ("gateway", "plain", "none", "gateway-once"):
            said = await generator.sockets(running.urls[way], 4, 1)
            assert said["failed"] == 0
            assert said["requests"] > 10
            assert 0 < said["p50"] <= said["p99"]
