"""Hosts outside the mesh, for captured calls: each says at which address it was reached."""

from __future__ import annotations

import http.server
import socket
import socketserver
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from ipaddress import ip_address


class Line(socketserver.StreamRequestHandler):
    """Answer each line."""

    def handle(self) -> None:
        """Answer until the caller ends."""
        for line in self.rfile:
            self.wfile.write(f"{reached(self.request)} ".encode() + line)


class Greeting(socketserver.BaseRequestHandler):
    """Speak first, as mail servers do."""

    def handle(self) -> None:
        """Greet."""
        self.request.sendall(f"220 {reached(self.request)}\n".encode())


class SecureLine(Line):
    """Answer each line, behind TLS."""

    context: ssl.SSLContext

    def setup(self) -> None:
        """Shake hands."""
        self.request = self.context.wrap_socket(self.request, server_side=True)
        super().setup()

    def finish(self) -> None:
        """Close what the server does not know of."""
        super().finish()
        self.request.close()


class Web(http.server.BaseHTTPRequestHandler):
    """Answer with the request as it came."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_GET(self) -> None:
        """Answer."""
        names = ",".join(sorted(name.lower() for name in self.headers))
        body = f"{reached(self.request)} {self.headers['host']} {self.path} {names}".encode()
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, _format: str, *_args: object) -> None:
        """Keep quiet."""


def relaying(dial: Callable[[], socket.socket]) -> type[socketserver.BaseRequestHandler]:
    """Return a handler that passes all on to what ``dial`` connects to."""

    class Relay(socketserver.BaseRequestHandler):
        """Pass all on, both ways."""

        def handle(self) -> None:
            """Pass on until both have ended."""
            with dial() as there:
                there.settimeout(None)
                back = threading.Thread(target=_pump, args=(there, self.request))
                back.start()
                _pump(self.request, there)
                back.join()

    return Relay


def _pump(source: socket.socket, target: socket.socket) -> None:
    with suppress(OSError):
        while data := source.recv(65_536):
            target.sendall(data)
    with suppress(OSError):
        target.shutdown(socket.SHUT_WR)


@contextmanager
def serving(
    listening: socket.socket, handler: type[socketserver.BaseRequestHandler]
) -> Iterator[None]:
    """Serve at ``listening``, a thread for each caller."""
    server = socketserver.ThreadingTCPServer(("", 0), handler, bind_and_activate=False)
    server.socket.close()
    server.socket = listening
    # A caller that is still there ends with its Envoy.
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def reached(accepted: socket.socket) -> str:
    """Return the address that the caller dialled, without port."""
    address = ip_address(accepted.getsockname()[0])
    mapped = getattr(address, "ipv4_mapped", None)
    return str(mapped or address)
