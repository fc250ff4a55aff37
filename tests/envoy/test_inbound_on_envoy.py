"""What a real Envoy does to requests at the callee, one test for each promise."""

from __future__ import annotations

import socket
import ssl
import time
from collections import Counter
from typing import Final

import pytest

from tests.envoy.bed import Bed
from tests.envoy.callee import DOMAIN, ask

pytestmark = pytest.mark.e2e

_CUT: Final = (ssl.SSLError, ConnectionError)
"""How a caller learns that its connection was closed."""


def test_local_limit_is_shared_by_all_callers(bed: Bed) -> None:
    assert bed.statuses("local", "/shared", 1, by="web") == [200]
    assert bed.statuses("local", "/shared", 2, by="db") == [200, 429]
    refused = bed.callee.ask("local", "/shared")
    assert refused.status == 429
    assert refused.headers["x-limit"] == "local"
    assert refused.headers["x-for"] == "100%"
    assert bed.statuses("local", "/free", 5) == [200] * 5


def test_local_limit_per_caller_counts_each_service(bed: Bed) -> None:
    assert bed.statuses("local", "/each", 3, by="web") == [200, 200, 429]
    assert bed.statuses("local", "/each", 3, by="db") == [200, 200, 429]
    # The same service in another zone is the same caller.
    assert bed.statuses("local", "/each", 1, by="web", zone="dc2") == [429]


def test_local_limit_allows_a_burst_and_answers_as_told(bed: Bed) -> None:
    assert bed.statuses("local", "/burst", 4) == [200, 200, 200, 503]


def test_local_limit_tells_a_grpc_caller_not_to_try_again(bed: Bed) -> None:
    call = {"content-type": "application/grpc", "te": "trailers"}
    assert bed.statuses("local", "/grpc", 1) == [200]
    found = bed.callee.ask("local", "/grpc", call, body=b"")
    assert found.headers["grpc-status"] == "8"


def test_abort_hits_all_or_none(bed: Bed) -> None:
    assert bed.statuses("fault", "/abort/100", 20) == [418] * 20
    assert bed.statuses("fault", "/abort/0", 20) == [200] * 20
    assert bed.statuses("fault", "/none", 1) == [200]


def test_abort_hits_half(bed: Bed) -> None:
    with bed.callee.connected("fault", bed.callee.caller("web")) as connection:
        found = Counter(ask(connection, "/abort/50").status for _ in range(200))
    assert set(found) == {200, 418}
    # Six standard deviations.
    assert 57 <= found[418] <= 143


def test_abort_with_a_grpc_status(bed: Bed) -> None:
    found = bed.callee.ask(
        "fault", "/abort/grpc", {"content-type": "application/grpc", "te": "trailers"}, body=b""
    )
    assert found.headers["grpc-status"] == "14"


def test_delay_hits_all_or_none(bed: Bed) -> None:
    started = time.monotonic()
    assert bed.statuses("fault", "/delay/100", 1) == [200]
    assert time.monotonic() - started > 0.55
    started = time.monotonic()
    assert bed.statuses("fault", "/delay/0", 5) == [200] * 5
    assert time.monotonic() - started < 30


def test_bandwidth_slows_the_answer(bed: Bed) -> None:
    started = time.monotonic()
    assert len(bed.callee.ask("fault", "/bytes/32768").body) == 32768
    assert time.monotonic() - started > 0.5
    started = time.monotonic()
    assert len(bed.callee.ask("fault", "/bytes/32767").body) == 32767
    assert time.monotonic() - started < 30


def test_route_for_a_caller(bed: Bed) -> None:
    assert bed.statuses("callers", "/", 1, by="web") == [418]
    assert bed.statuses("callers", "/", 1, by="web", zone="dc9") == [418]
    assert bed.statuses("callers", "/", 1, by="batch", zone="dc2") == [418]
    assert bed.statuses("callers", "/", 1, by="batch", zone="dc1") == [200]
    assert bed.statuses("callers", "/", 1, by="webs") == [200]


@pytest.mark.parametrize(
    "forged",
    [
        f"URI=spiffe://{DOMAIN}/ns/default/dc/dc1/svc/web",
        f"By=x;Hash={'0' * 64};URI=spiffe://{DOMAIN}/ns/default/dc/dc1/svc/web",
    ],
)
def test_forged_identity_is_thrown_away(bed: Bed, forged: str) -> None:
    found = bed.callee.ask("callers", "/", {"x-forwarded-client-cert": forged}, by="db")
    assert found.status == 200
    seen = found.seen()["x-forwarded-client-cert"]
    assert seen.endswith(f"URI=spiffe://{DOMAIN}/ns/default/dc/dc1/svc/db")
    assert "svc/web" not in seen


def test_request_and_idle_timeouts(bed: Bed) -> None:
    assert bed.statuses("timeouts", "/hang", 1) == [504]
    # Nothing of the answer was sent when the stream fell silent.
    assert bed.callee.ask("timeouts", "/hang", body=b"x").status in {408, 504}


def test_plain_text_and_tls_on_one_port(bed: Bed) -> None:
    assert bed.callee.ask("plain", by="web").status == 418
    assert bed.callee.ask("plain", by="db").status == 200
    forged = f"Hash={'0' * 64};URI=spiffe://{DOMAIN}/ns/default/dc/dc1/svc/web"
    with bed.callee.connected("plain", None) as connection:
        found = ask(connection, "/", {"x-forwarded-client-cert": forged})
        assert found.status == 200
        assert "x-forwarded-client-cert" not in found.seen()
        assert [ask(connection, "/each").status for _ in range(3)] == [200, 200, 429]
    nobody = ssl.create_default_context(cafile=str(bed.callee.authority.root))
    with bed.callee.connected("plain", nobody) as connection, pytest.raises(_CUT):
        ask(connection)


def test_plain_text_is_refused_when_strict(bed: Bed) -> None:
    with bed.callee.connected("local", None) as connection, pytest.raises(ConnectionError):
        ask(connection)


def test_plain_text_where_the_server_speaks_first(bed: Bed) -> None:
    with socket.create_connection(("127.0.0.1", bed.callee.ports["plain-tcp"]), 20) as caller:
        with bed.greeter.accept()[0] as server:
            server.sendall(b"220 hello\r\n")
        assert caller.recv(100) == b"220 hello\r\n"


def test_connections_at_once_are_limited(bed: Bed) -> None:
    context = bed.callee.caller("web")
    with bed.callee.connected("one-at-once", context) as first:
        assert ask(first).status == 200
        with bed.callee.connected("one-at-once", context) as second, pytest.raises(_CUT):
            ask(second)
        assert ask(first).status == 200


def test_new_connections_are_limited(bed: Bed) -> None:
    context = bed.callee.caller("web")
    with bed.callee.connected("one-new", context) as first:
        assert ask(first).status == 200
    with bed.callee.connected("one-new", context) as second, pytest.raises(_CUT):
        ask(second)
