"""MeshRetry: what is tried again, by protocol, and the budget."""

from __future__ import annotations

from mesh.model.destinations import Limits, Settings, Target
from mesh.model.requests import EVERYTHING
from mesh.model.services import Protocol
from mesh.model.traffic import Forward, Retry, Route, Share
from mesh.policies import defaults
from mesh.policies.kinds.retry import KIND
from tests.policies.kinds import documents, reading

PLAIN = Route(EVERYTHING, Forward((Share(Target("api")),)))


def _retry(*said: str, before: Retry | None = None, protocol: Protocol = Protocol.HTTP) -> Retry:
    assert KIND.on_route is not None
    route = Route(PLAIN.match, PLAIN.action, retry=before)
    found = KIND.on_route(documents.conf_of(KIND, *said), route, protocol).retry
    assert found is not None
    return found


def _settings(said: str, before: Settings, protocol: Protocol = Protocol.HTTP) -> Settings:
    assert KIND.on_target is not None
    return KIND.on_target(documents.conf_of(KIND, said), before, protocol)


def test_all_that_can_be_said_of_http() -> None:
    found = _retry("""
        http:
          numRetries: 4
          perTryTimeout: 2s
          backOff: {baseInterval: 50ms, maxInterval: 1s}
          retryOn: [5XX, GatewayError, ResetBeforeRequest, 429, "503", HttpMethodGet]
          hostSelection: []
        """)

    assert found == Retry(
        attempts=4,
        on=("5xx", "gateway-error", "reset-before-request", "retriable-status-codes"),
        statuses=(429, 503),
        methods=("GET",),
        per_try=2.0,
        backoff_base=0.05,
        backoff_max=1.0,
        other_hosts=False,
    )


def test_grpc_has_its_own() -> None:
    said = "{http: {numRetries: 1}, grpc: {numRetries: 7, retryOn: [Unavailable, Cancelled]}}"

    assert _retry(said, protocol=Protocol.GRPC) == Retry(7, ("unavailable", "cancelled"))
    assert _retry(said, protocol=Protocol.HTTP2).attempts == 1


def test_what_is_unsaid_stays() -> None:
    before = Retry(9, ("reset",), (418,), ("PUT",), per_try=3.0, backoff_max=4.0)

    assert _retry("{http: {perTryTimeout: 1s}}", before=before) == Retry(
        9, ("reset",), (418,), ("PUT",), per_try=1.0, backoff_max=4.0
    )


def test_what_nobody_said_is_the_safe_default() -> None:
    assert _retry("{http: {perTryTimeout: 1s}}") == Retry(
        defaults.RETRY_ATTEMPTS, defaults.SAFE_RETRIES, per_try=1.0
    )


def test_conditions_take_the_place_of_conditions() -> None:
    before = Retry(2, ("reset", "retriable-status-codes"), (418,), ("PUT",))

    assert _retry("{http: {retryOn: [5XX]}}", before=before) == Retry(2, ("5xx",))


def test_methods_alone_restrict_what_was_said() -> None:
    before = Retry(2, ("reset", "retriable-status-codes"), (418,))

    found = _retry("{http: {retryOn: [HttpMethodGet]}}", before=before)

    assert found == Retry(2, ("reset", "retriable-status-codes"), (418,), ("GET",))


def test_no_retries_turn_them_off_for_good() -> None:
    assert KIND.on_route is not None
    conf = documents.conf_of(KIND, "{http: {numRetries: 0}}")
    route = KIND.on_route(conf, PLAIN, Protocol.HTTP)

    assert route.retry == Retry(0, ())
    assert defaults.on_route(route, Protocol.HTTP).retry == Retry(0, ())


def test_a_try_may_take_as_long_as_the_request() -> None:
    assert _retry("{http: {perTryTimeout: 0s}}", before=Retry(1, (), per_try=1.0)).per_try is None


def test_the_pauses_may_be_said_apart() -> None:
    found = _retry("{http: {backOff: {maxInterval: 1s}}}", "{http: {backOff: {baseInterval: 3s}}}")

    assert (found.backoff_base, found.backoff_max) == (3.0, 1.0)


def test_of_tcp_no_request_is_tried_again() -> None:
    assert KIND.on_route is not None
    conf = documents.conf_of(KIND, "{tcp: {maxConnectAttempts: 3}, http: {numRetries: 1}}")

    assert KIND.on_route(conf, PLAIN, Protocol.TCP) is PLAIN


def test_connections_are_tried_again() -> None:
    said = "{tcp: {maxConnectAttempts: 3}, http: {budget: {percent: 1}}}"

    assert _settings(said, Settings(), Protocol.TCP) == Settings(connect_attempts=3)
    assert _settings(said, Settings()).connect_attempts is None


def test_a_budget_leaves_other_limits_alone() -> None:
    before = Settings(limits=Limits(connections=5, retries=2, retry_budget=20.0, min_retries=3))

    assert _settings("{http: {budget: {percent: 50}}}", before).limits == Limits(
        connections=5, retries=2, retry_budget=50.0, min_retries=3
    )
    assert _settings("{http: {budget: {minConcurrency: 9}}}", Settings()).limits == Limits(
        min_retries=9
    )


def test_a_budget_of_grpc_is_not_one_of_http() -> None:
    said = "{grpc: {budget: {percent: 50}}}"

    assert _settings(said, Settings()) == Settings()
    assert _settings(said, Settings(), Protocol.GRPC).limits == Limits(retry_budget=50.0)


def test_everything_wrong_is_told_at_once() -> None:
    found = reading.violations(
        KIND,
        """
        to:
          - targetRef: {kind: Mesh}
            default:
              tcp: {maxConnectAttempts: 0}
              http:
                numRetries: -1
                perTryTimeout: 2
                retryOn: [5xx, 200, true, Unavailable]
                backOff: {baseInterval: 0s}
                hostSelection: [{predicate: Any}]
                budget: {percent: 101}
              grpc: {retryOn: [5XX], attempts: 3}
        """,
    )
    http = "spec.to[0].default.http"

    assert set(found) == {
        "spec.to[0].default.tcp.maxConnectAttempts",
        f"{http}.numRetries",
        f"{http}.perTryTimeout",
        f"{http}.retryOn[0]",
        f"{http}.retryOn[1]",
        f"{http}.retryOn[2]",
        f"{http}.retryOn[3]",
        f"{http}.backOff.baseInterval",
        f"{http}.hostSelection[0].predicate",
        f"{http}.budget.percent",
        "spec.to[0].default.grpc.retryOn[0]",
        "spec.to[0].default.grpc.attempts",
    }
    assert found[f"{http}.retryOn[0]"].startswith("'5xx' is not one of 5XX, GatewayError")
    assert found[f"{http}.retryOn[1]"] == "200 is no status of a failure: 400 to 599"


def test_pauses_in_the_wrong_order_are_refused() -> None:
    spec = """
        to:
          - targetRef: {kind: Mesh}
            default: {grpc: {backOff: {baseInterval: 2s, maxInterval: 1s}}}
        """

    assert reading.violations(KIND, spec) == {
        "spec.to[0].default.grpc.backOff": "baseInterval is longer than maxInterval"
    }
