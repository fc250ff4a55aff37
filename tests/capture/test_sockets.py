"""Sockets as the kernel lists them."""

from __future__ import annotations

import socket
import subprocess
import sys
from ipaddress import ip_address

import pytest

from mesh.capture import surroundings
from mesh.capture.control import control
from mesh.capture.errors import CaptureError
from mesh.capture.sockets import Place, Socket, State, listens, parse, sockets

LOOPBACK = ip_address("127.0.0.1")
STUCK = """\
  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:0016 0200000A:C350 01 00000010:00000000 01:00000100 00000003     0        0 1 1
"""


def test_connections_and_listeners_of_both_families_are_found() -> None:
    with socket.create_server(("127.0.0.1", 0)) as four:
        port = four.getsockname()[1]
        client = socket.create_connection(("127.0.0.1", port))
        accepted, _ = four.accept()
        with client, accepted:
            found = sockets()
            local = Place(LOOPBACK, client.getsockname()[1])
            mine = Socket("tcp", local, Place(LOOPBACK, port), State.ESTABLISHED, stuck=False)
            assert mine in found
            assert listens(found, "tcp", port, "127.0.0.1")
            assert not listens(found, "tcp", port, "::1")
    assert not listens(sockets(), "tcp", port, "127.0.0.1")


def test_one_that_takes_every_address_listens_for_both_families() -> None:
    with socket.create_server(("::", 0), family=socket.AF_INET6, dualstack_ipv6=True) as six:
        port = six.getsockname()[1]
        assert listens(sockets(), "tcp", port, "127.0.0.1")
        assert listens(sockets(), "tcp", port, "::1")


def test_a_datagram_socket_listens_once_it_has_a_port() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as opened:
        opened.bind(("127.0.0.1", 0))
        port = opened.getsockname()[1]
        assert listens(sockets(), "udp", port, "127.0.0.1")
        assert not listens(sockets(), "tcp", port, "127.0.0.1")


def test_what_is_sent_again_unanswered_is_stuck() -> None:
    place, remote = Place(LOOPBACK, 22), Place(ip_address("10.0.0.2"), 50000)
    assert list(parse(STUCK, "tcp")) == [Socket("tcp", place, remote, 1, stuck=True)]


def test_the_ssh_session_is_read_from_its_variable() -> None:
    found = control("2001:db8::1 40000 ::ffff:192.0.2.2 22", ())
    assert found.client == Place(ip_address("2001:db8::1"), 40000)
    assert found.server == Place(ip_address("192.0.2.2"), 22)
    assert control("", ()).client is None
    with pytest.raises(CaptureError, match="SSH_CONNECTION"):
        control("nonsense", ())


_ASK = "from mesh.capture.surroundings import ssh_connection; print(ssh_connection(''))"
_LIKE_SUDO = "import subprocess, sys; subprocess.run([sys.executable, '-c', sys.argv[1]], env={})"


def test_the_variable_of_the_session_is_found_above_sudo() -> None:
    assert surroundings.ssh_connection("given") == "given"
    session = "192.0.2.1 40000 192.0.2.2 22"
    ran = subprocess.run(
        [sys.executable, "-c", _LIKE_SUDO, _ASK],
        env={"SSH_CONNECTION": session},
        capture_output=True,
        text=True,
        check=True,
    )
    assert ran.stdout.strip() == session
