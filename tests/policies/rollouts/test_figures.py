"""Counters become figures: deltas, restarts, failures, percentiles."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from mesh.model.services import Protocol
from mesh.policies.rollouts.figures import NOTHING, Figures, figures, grown

NAMES = ("upstream_rq_2xx", "upstream_rq_5xx", "upstream_rq_retry", "le/10", "le/250")
counters = st.dictionaries(st.sampled_from(NAMES), st.integers(1, 1000))


def test_what_grew_is_what_counts() -> None:
    before = {"upstream_rq_2xx": 10, "upstream_rq_5xx": 1, "le/10": 11}
    now = {"upstream_rq_2xx": 17, "upstream_rq_5xx": 3, "le/10": 15, "le/20": 5}
    assert figures(grown(before, now), Protocol.HTTP) == Figures(9, 2, {"10": 4, "20": 5})


def test_a_restarted_proxy_counts_from_zero() -> None:
    before = {"upstream_rq_2xx": 100, "upstream_rq_5xx": 1, "le/10": 101}
    now = {"upstream_rq_2xx": 5, "upstream_rq_5xx": 2, "le/10": 7}
    assert grown(before, now) == now


def test_a_counter_that_vanished_is_a_restart_too() -> None:
    # Envoy leaves out what was never counted.
    assert grown({"upstream_rq_5xx": 1, "upstream_rq_2xx": 5}, {"upstream_rq_2xx": 9}) == {
        "upstream_rq_2xx": 9
    }


def test_a_host_that_left_takes_nothing_away() -> None:
    before = {"upstream_rq_2xx": 10, "host/a/rq_success": 6, "host/b/rq_success": 4}
    now = {"upstream_rq_2xx": 12, "host/a/rq_success": 8}
    assert grown(before, now) == {"upstream_rq_2xx": 2, "host/a/rq_success": 2}


def test_an_attempt_that_was_retried_is_a_failed_call() -> None:
    found = figures({"upstream_rq_2xx": 18, "upstream_rq_5xx": 1, "upstream_rq_retry": 1}, _HTTP)
    assert (found.requests, found.failures, found.success_rate) == (20, 2, 90.0)


def test_grpc_failures_are_those_that_the_hosts_counted() -> None:
    growth = {"upstream_rq_2xx": 20, "host/a/rq_success": 15, "host/a/rq_error": 5}
    assert figures(growth, Protocol.GRPC) == Figures(20, 5)


def test_a_grpc_call_counts_when_it_has_ended() -> None:
    assert figures({"upstream_rq_2xx": 20}, Protocol.GRPC) == NOTHING
    assert figures({"upstream_rq_2xx": 20, "host/a/rq_error": 3}, Protocol.GRPC) == Figures(3, 3)


def test_calls_without_a_host_are_failures_too() -> None:
    growth = {"upstream_rq_5xx": 10, "host/a/rq_success": 0}
    assert figures(growth, Protocol.GRPC) == Figures(10, 10)


def test_of_tcp_the_connections_count() -> None:
    growth = {"upstream_cx_total": 10, "upstream_cx_connect_fail": 3, "upstream_rq_2xx": 99}
    assert figures(growth, Protocol.TCP) == Figures(10, 3)


def test_the_percentile_is_the_edge_below_which_so_many_calls_are() -> None:
    found = Figures(100, latencies={"10": 90, "100": 9, "2000": 1})
    assert [found.latency(each) for each in (50, 90, 91, 99, 100)] == [0.01, 0.01, 0.1, 0.1, 2.0]
    assert NOTHING.latency(99) is None
    assert NOTHING.success_rate is None


@given(st.lists(counters, min_size=1))
def test_sums_over_any_restarts_are_what_was_counted(runs: list[dict[str, int]]) -> None:
    """Each run of a proxy counts from zero; what is learned of it is never more."""
    total, before = NOTHING, dict[str, int]()
    for run in runs:
        total = total.plus(figures(grown(before, run), _HTTP))
        before = run
    said = [figures(run, _HTTP) for run in runs]
    assert total.requests <= sum(each.requests for each in said)
    assert total.failures >= 0
    assert all(count > 0 for count in total.latencies.values())


@given(counters, counters)
def test_what_is_added_is_what_has_come_since(first: dict[str, int], more: dict[str, int]) -> None:
    earlier = figures(first, _HTTP)
    added = figures(more, _HTTP)
    assert earlier.plus(added).since(earlier) == added


_HTTP = Protocol.HTTP
