"""MeshPassthrough on captured connections: redirected by the kernel, through a real Envoy."""

from __future__ import annotations

from collections.abc import Iterator

import grpc
import pytest
from envoy.service.auth.v3 import external_auth_pb2, external_auth_pb2_grpc

from tests.traffic.lab import (
    CLOSED,
    GRPC,
    HOST,
    HOST6,
    LINE,
    LOCAL,
    MATCHED,
    NEIGHBOUR,
    OPEN,
    PORTS,
    STRANGER,
    STRANGER6,
    TLS,
    WEB,
    Lab,
    lab,
    requested,
)

pytestmark = pytest.mark.e2e
_LOOPBACK = "127.0.0.1"
_EVERYBODY = [HOST, STRANGER, HOST6, STRANGER6]


@pytest.fixture(scope="module", name="lab")
def _lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    with lab(tmp_path_factory.mktemp("lab")) as found:
        yield found


@pytest.mark.parametrize("address", _EVERYBODY)
def test_without_a_policy_all_pass_to_just_where_they_went(lab: Lab, address: str) -> None:
    assert lab.say(OPEN, address) == f"{address} hello\n"
    assert lab.secure(OPEN, address, "api.example.com") == f"{address} hello\n"
    assert lab.greeting(OPEN, address) == f"220 {address}\n"
    assert lab.ask(OPEN, address, "any.test")[0] == 200


def test_a_host_that_is_not_there_is_not_there_behind_the_proxy(lab: Lab) -> None:
    assert lab.say(OPEN, STRANGER, 4001) == ""


def test_a_listener_of_one_family_captures_that(lab: Lab) -> None:
    assert lab.say(LOCAL, STRANGER) == f"{STRANGER} hello\n"
    with pytest.raises(ConnectionRefusedError):
        lab.say(LOCAL, STRANGER6)


@pytest.mark.parametrize("address", [HOST, STRANGER])
def test_with_none_nothing_passes_and_the_log_says_why(lab: Lab, address: str) -> None:
    assert lab.say(CLOSED, address) == ""
    assert lab.greeting(CLOSED, address) == ""
    assert lab.secure(CLOSED, address, "api.example.com") == ""
    lab.logged(
        f"refused: mesh: web-{CLOSED} may not call {address}:{LINE}",
        "MeshPassthrough lets nobody outside the mesh be called",
    )


@pytest.mark.parametrize("port", PORTS)
@pytest.mark.parametrize("mark", [0, OPEN, MATCHED, LOCAL])
def test_a_call_of_the_listener_itself_is_refused(lab: Lab, port: int, mark: int) -> None:
    assert lab.say(mark, _LOOPBACK, port) == ""


def test_a_call_of_the_listener_itself_is_told_in_the_log(lab: Lab) -> None:
    lab.say(0, _LOOPBACK, OPEN)
    lab.logged(f"may not call {_LOOPBACK}:{OPEN}", "is where the proxy captures connections")


@pytest.mark.parametrize("mark", [0, OPEN, LOCAL])
def test_a_call_of_the_listeners_port_at_another_address_ends(lab: Lab, mark: int) -> None:
    # The listener has every address: dialled there, it finds a connection with no other aim.
    assert lab.say(mark, STRANGER, OPEN) == ""


@pytest.mark.parametrize(
    ("address", "port", "passes"),
    [
        (HOST, LINE, True),
        (NEIGHBOUR, LINE, True),
        (HOST6, LINE, True),
        (STRANGER, LINE, False),
        (STRANGER6, LINE, False),
        (HOST, TLS, False),
        # An address without a port passes at ports where only TLS to some names does otherwise.
        (NEIGHBOUR, WEB, True),
    ],
)
def test_matched_addresses_pass(lab: Lab, address: str, port: int, *, passes: bool) -> None:
    answer = lab.say(MATCHED, address, port)
    assert (answer != "") is passes
    if passes and port == LINE:
        assert answer == f"{address} hello\n"


@pytest.mark.parametrize(
    ("address", "passes"), [(HOST, True), (NEIGHBOUR, True), (STRANGER, False)]
)
def test_matched_blocks_pass_even_if_the_server_speaks_first(
    lab: Lab, address: str, *, passes: bool
) -> None:
    assert lab.greeting(MATCHED, address) == (f"220 {address}\n" if passes else "")


@pytest.mark.parametrize(
    ("address", "name", "passes"),
    [
        (STRANGER, "api.example.com", True),
        (STRANGER6, "api.example.com", True),
        (STRANGER, "a.example.org", True),
        (STRANGER, "example.org", False),
        (STRANGER, "api.test", False),
        (STRANGER, None, False),
        (HOST6, "example.org", True),
        (HOST6, None, True),
        (NEIGHBOUR, "example.org", True),
    ],
)
def test_matched_tls_passes_by_the_name_it_asks_for(
    lab: Lab, address: str, name: str | None, *, passes: bool
) -> None:
    assert lab.secure(MATCHED, address, name) == (f"{address} hello\n" if passes else "")


def test_tls_to_a_matched_name_passes_at_its_port_only(lab: Lab) -> None:
    assert lab.secure(MATCHED, STRANGER, "api.example.com", LINE) == ""


def test_what_is_refused_by_its_name_is_told_in_the_log(lab: Lab) -> None:
    assert lab.secure(MATCHED, STRANGER, "api.test") == ""
    lab.logged(f"may not call {STRANGER}:{TLS} (name: api.test)", "no match of MeshPassthrough")


@pytest.mark.parametrize("host", ["api.test", "API.test", "api.test:80", "shop.web.test"])
def test_matched_http_passes_by_its_host(lab: Lab, host: str) -> None:
    status, body = lab.ask(MATCHED, STRANGER, host)
    assert (status, body.split()[:2]) == (200, [STRANGER, host])


@pytest.mark.parametrize("host", ["web.test", "evil.test", "api.test.evil.test"])
def test_http_to_another_host_is_answered_with_a_sentence(lab: Lab, host: str) -> None:
    status, body = lab.ask(MATCHED, STRANGER, host)
    assert status == 403
    assert body == (
        f"mesh: web-{MATCHED} may not call {host}: no match of MeshPassthrough lets http to this "
        "host through.\n"
    )


def test_each_request_of_a_connection_is_judged(lab: Lab) -> None:
    with lab.network.dial(STRANGER, WEB, mark=MATCHED) as dialled:
        hosts = ["api.test", "evil.test", "api.test"]
        assert [requested(dialled, host)[0] for host in hosts] == [200, 403, 200]


def test_a_request_goes_on_as_it_came(lab: Lab) -> None:
    path = "/a//b/../c%2fd?q=1"
    found = lab.ask(MATCHED, HOST, "api.test", path)[1].split()
    assert found == [HOST, "api.test", path, "host,x-forwarded-proto"]


def test_what_is_no_http_is_closed_where_http_may_pass(lab: Lab) -> None:
    assert lab.say(MATCHED, STRANGER, WEB) == ""


@pytest.mark.parametrize(
    ("host", "expected"),
    [("greeter.test", grpc.StatusCode.OK), ("evil.test", grpc.StatusCode.PERMISSION_DENIED)],
)
def test_matched_grpc_passes_by_its_host(lab: Lab, host: str, expected: grpc.StatusCode) -> None:
    options = [("grpc.default_authority", host)]
    with (
        lab.relay(MATCHED, STRANGER, GRPC) as port,
        grpc.insecure_channel(f"{_LOOPBACK}:{port}", options) as channel,
    ):
        stub = external_auth_pb2_grpc.AuthorizationStub(channel)
        call = stub.Check.future(external_auth_pb2.CheckRequest(), timeout=10)
        assert call.code() is expected, call.details()
