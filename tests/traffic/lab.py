"""Proxies that capture, in a network with hosts outside the mesh, and a caller among them.

Several proxies' listeners stand in one Envoy, each with its own MeshPassthrough.  A connection
with the mark of one of them is redirected to it; all else goes where it wants to.
"""

from __future__ import annotations

import http.client
import socket
import socketserver
import ssl
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from mesh.envoy.resource import CLUSTER, unpack
from mesh.model.proxies import Capture, ProxyNeed
from mesh.policies.kinds.passthrough import KIND
from mesh.policies.selection import Selection
from mesh.render.capture import captured
from mesh.world.snapshot import World
from tests.envoy.backends import GrpcAuthorizer, Limiter, grpc_server
from tests.policies.kinds.reading import document
from tests.realenvoy import bootstrap, running
from tests.traffic.namespace import Namespace, namespace
from tests.traffic.outside import Greeting, Line, SecureLine, Web, relaying, serving
from tests.xds.pki import Authority

OPEN, CLOSED, MATCHED, LOCAL = PORTS = 15_001, 15_002, 15_003, 15_004
"""Capture ports: without a policy, with ``None``, with :data:`MATCHES`, and again without a policy
but by IPv4 only."""
MAIL, LINE, TLS, WEB, GRPC = 25, 4000, 443, 80, 50_051
HOST, NEIGHBOUR, STRANGER = "192.0.2.1", "192.0.2.2", "198.51.100.1"
HOST6, STRANGER6 = "2001:db8::1", "2001:db8:1::1"
NAMES: Final = ("api.example.com", "a.example.org", "example.org", "api.test")
MATCHES: Final = """default:
  appendMatch:
    - {type: IP, value: 192.0.2.1, port: 4000}
    - {type: IP, value: 192.0.2.2}
    - {type: CIDR, value: "2001:db8::/64", port: 4000}
    - {type: CIDR, value: 192.0.2.0/24, port: 25}
    - {type: IP, value: "2001:db8::1", port: 443, protocol: tls}
    - {type: Domain, value: api.example.com, port: 443, protocol: tls}
    - {type: Domain, value: "*.example.org", port: 443, protocol: tls}
    - {type: Domain, value: api.test, port: 80, protocol: http}
    - {type: Domain, value: "*.web.test", port: 80, protocol: http}
    - {type: Domain, value: greeter.test, port: 50051, protocol: grpc}
"""
_PATIENCE: Final = 10.0
_LOOPBACK: Final = "127.0.0.1"


@dataclass(frozen=True, slots=True)
class Lab:
    """A network with hosts, and proxies that capture."""

    network: Namespace
    directory: Path
    trust: ssl.SSLContext

    def say(self, mark: int, address: str, port: int = LINE, line: bytes = b"hello\n") -> str:
        """Say a line; empty if the connection was closed."""
        with self.network.dial(address, port, mark=mark) as dialled:
            return answered(dialled, line)

    def greeting(self, mark: int, address: str) -> str:
        """Wait for what the server says first."""
        with self.network.dial(address, MAIL, mark=mark) as dialled:
            return answered(dialled)

    def secure(self, mark: int, address: str, name: str | None, port: int = TLS) -> str:
        """Say a line to the host ``name`` behind TLS, which must prove that it is that."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        with self.network.dial(address, port, mark=mark) as dialled:
            try:
                with (self.trust if name else context).wrap_socket(
                    dialled, server_hostname=name
                ) as wrapped:
                    return answered(wrapped, b"hello\n")
            except (ssl.SSLEOFError, ConnectionError):
                return ""

    def ask(self, mark: int, address: str, host: str, path: str = "/") -> tuple[int, str]:
        """Send one request."""
        with self.network.dial(address, WEB, mark=mark) as dialled:
            return requested(dialled, host, path)

    def logged(self, *words: str) -> None:
        """Wait until a line of the proxy's log has all ``words``."""
        deadline = time.monotonic() + _PATIENCE
        log = self.directory / "envoy.log"
        while time.monotonic() < deadline:
            if any(all(word in line for word in words) for line in log.read_text().splitlines()):
                return
            time.sleep(0.01)
        raise AssertionError(f"{words} not in {log.read_text()}")

    @contextmanager
    def relay(self, mark: int, address: str, port: int) -> Iterator[int]:
        """Give a port outside that leads, captured, to a place inside."""
        listening = socket.create_server((_LOOPBACK, 0))
        handler = relaying(lambda: self.network.dial(address, port, mark=mark))
        with serving(listening, handler):
            yield listening.getsockname()[1]


def answered(dialled: socket.socket, line: bytes = b"") -> str:
    """Return the answer to ``line``, empty if the connection was closed instead."""
    try:
        dialled.sendall(line)
        return dialled.recv(1000).decode()
    except ConnectionError:
        return ""


def requested(dialled: socket.socket, host: str, path: str = "/") -> tuple[int, str]:
    """Return status and body of the answer to a request."""
    connection = http.client.HTTPConnection(host)
    connection.sock = dialled
    connection.putrequest("GET", path, skip_host=True, skip_accept_encoding=True)
    connection.putheader("host", host)
    connection.endheaders()
    answer = connection.getresponse()
    return answer.status, answer.read().decode()


def _configuration() -> str:
    """Return Envoy's configuration: what is rendered for each proxy."""
    listeners = []
    clusters: dict[str, Any] = {}
    for port, address, spec in (
        (OPEN, "::", ""),
        (CLOSED, _LOOPBACK, "default: {passthroughMode: None}"),
        (MATCHED, "::", MATCHES),
        (LOCAL, _LOOPBACK, ""),
    ):
        need = ProxyNeed(f"web-{port}", "dc1", None, capture=Capture(address, port))
        (part,) = captured(need, Selection((document(KIND, spec),) if spec else ()), ())
        for resource in part.render(World("dc1", "td")):
            message = unpack(resource)
            if resource.type_url == CLUSTER:
                # All have the same one.
                assert clusters.setdefault(message.name, message) == message
            else:
                message.name = str(port)
                listeners.append(message)
    return bootstrap(listeners, clusters.values())


@contextmanager
def lab(directory: Path) -> Iterator[Lab]:
    """Run all of it, with files in ``directory``."""
    authority = Authority(directory)
    served = authority.issue("outside", dns=NAMES)
    SecureLine.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    SecureLine.context.load_cert_chain(served.certificate, served.key)
    with ExitStack() as stack:
        addresses = [f"{address}/32" for address in (HOST, NEIGHBOUR, STRANGER)]
        addresses += [f"{address}/128" for address in (HOST6, STRANGER6)]
        network = stack.enter_context(namespace(*addresses))
        # gRPC keeps its threads for the whole process, so it must know nothing of the inside.
        grpc_port = stack.enter_context(grpc_server(GrpcAuthorizer(), Limiter()))
        hosts: dict[int, type[socketserver.BaseRequestHandler]] = {
            MAIL: Greeting,
            LINE: Line,
            TLS: SecureLine,
            WEB: Web,
            GRPC: relaying(lambda: socket.create_connection((_LOOPBACK, grpc_port))),
        }
        for port, handler in hosts.items():
            stack.enter_context(serving(network.listening(port), handler))
        network.do(lambda: stack.enter_context(running(_configuration(), directory)))
        network.redirect(PORTS)
        found = Lab(network, directory, authority.client_context(None))
        for port in PORTS:
            _listens(network, port)
        yield found


def _listens(network: Namespace, port: int) -> None:
    deadline = time.monotonic() + _PATIENCE
    while True:
        try:
            network.dial(_LOOPBACK, port).close()
        except ConnectionRefusedError:
            assert time.monotonic() < deadline, f"nobody listens on {port}"
            time.sleep(0.01)
        else:
            return
