"""What stands behind a callee's proxy: an application, and those who decide about requests."""

from __future__ import annotations

import http.server
import json
import threading
from collections import Counter
from collections.abc import Iterator
from concurrent import futures
from contextlib import contextmanager
from typing import Any

import grpc
from envoy.config.core.v3 import base_pb2
from envoy.service.auth.v3 import external_auth_pb2, external_auth_pb2_grpc
from envoy.service.ratelimit.v3 import rls_pb2, rls_pb2_grpc
from google.rpc import code_pb2


class Application(http.server.BaseHTTPRequestHandler):
    """Tell the request's headers; hang on ``/hang``; send zeros on ``/bytes/N``."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    released = threading.Event()

    def do_GET(self) -> None:
        """Answer."""
        if self.path == "/hang":
            self.released.wait(30)
        body = json.dumps({name.lower(): value for name, value in self.headers.items()}).encode()
        if self.path.startswith("/bytes/"):
            body = bytes(int(self.path.rpartition("/")[2]))
        self.rfile.read(int(self.headers.get("content-length", 0)))
        self.respond(200, body)

    def do_POST(self) -> None:
        """Answer."""
        self.do_GET()

    def respond(self, status: int, body: bytes = b"", **headers: str) -> None:
        """Send an answer; an underscore in a header's name stands for a hyphen."""
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, _format: str, *_args: Any) -> None:
        """Keep quiet."""


class HttpAuthorizer(Application):
    """Allow whoever's ``x-pass`` says ``yes``; ask for the path ``/check/...``."""

    def do_GET(self) -> None:
        """Answer."""
        if not self.path.startswith("/check/"):
            self.respond(500)
        elif self.headers.get("x-pass") == "yes":
            self.respond(200, x_user="joe", x_secret="no")
        else:
            self.respond(401, b"who are you?\n", x_why="no pass")


class GrpcAuthorizer(external_auth_pb2_grpc.AuthorizationServicer):  # type: ignore[misc]  # untyped
    """Allow whoever's ``x-pass`` says ``yes``; keep what was asked."""

    def __init__(self) -> None:
        """Nothing was asked."""
        self.asked: list[Any] = []

    def Check(self, request: Any, _context: Any) -> Any:  # noqa: N802  # gRPC's name
        """Decide."""
        self.asked.append(request)
        result = external_auth_pb2.CheckResponse()
        if request.attributes.request.http.headers.get("x-pass") == "yes":
            value = base_pb2.HeaderValue(key="x-user", value="joe")
            result.ok_response.headers.add(header=value)
        else:
            result.status.code = code_pb2.PERMISSION_DENIED
            result.denied_response.status.code = 403
            result.denied_response.body = "not you\n"
        return result


class Limiter(rls_pb2_grpc.RateLimitServiceServicer):  # type: ignore[misc]  # untyped
    """Count each descriptor against the limit that it carries."""

    def __init__(self) -> None:
        """Nothing was counted."""
        self.asked: list[Any] = []
        self.counts: Counter[bytes] = Counter()

    def ShouldRateLimit(self, request: Any, _context: Any) -> Any:  # noqa: N802  # gRPC's name
        """Decide."""
        self.asked.append(request)
        over = False
        for descriptor in request.descriptors:
            key = descriptor.SerializeToString(deterministic=True)
            self.counts[key] += 1
            over = over or self.counts[key] > descriptor.limit.requests_per_unit
        code = rls_pb2.RateLimitResponse.OVER_LIMIT if over else rls_pb2.RateLimitResponse.OK
        return rls_pb2.RateLimitResponse(overall_code=code)


@contextmanager
def http_server(handler: type[http.server.BaseHTTPRequestHandler]) -> Iterator[int]:
    """Serve HTTP; give the port."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    # A handler may still serve an idle connection, which ends with Envoy.
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@contextmanager
def grpc_server(authorizer: GrpcAuthorizer, limiter: Limiter) -> Iterator[int]:
    """Serve both; give the port."""
    server = grpc.server(futures.ThreadPoolExecutor(4))
    external_auth_pb2_grpc.add_AuthorizationServicer_to_server(authorizer, server)
    rls_pb2_grpc.add_RateLimitServiceServicer_to_server(limiter, server)
    port: int = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield port
    finally:
        server.stop(0).wait()
