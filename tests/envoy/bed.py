"""All of a callee's surroundings, running."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import jwt as pyjwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from mesh.envoy import jwt
from mesh.envoy.filters import tokens
from mesh.model.intentions import JwtLocation, JwtProvider
from mesh.model.services import Protocol
from tests.envoy.backends import (
    Application,
    GrpcAuthorizer,
    HttpAuthorizer,
    Limiter,
    grpc_server,
    http_server,
)
from tests.envoy.callee import Callee, serving
from tests.envoy.inbounds import TRAFFIC


class Issuer:
    """Signs tokens as a provider."""

    def __init__(self, name: str) -> None:
        """Make a key."""
        self._key = ec.generate_private_key(ec.SECP256R1())
        self.issuer = f"https://{name}.test"
        public = json.loads(pyjwt.algorithms.ECAlgorithm.to_jwk(self._key.public_key()))
        keys = json.dumps({"keys": [{**public, "kid": "1", "alg": "ES256", "use": "sig"}]})
        where = (JwtLocation(header="authorization", value_prefix="Bearer "),)
        self.provider = JwtProvider(name, self.issuer, jwks=keys, locations=where)

    def token(self, **claims: Any) -> dict[str, str]:
        """Return the header of a request with a token."""
        payload = {"iss": self.issuer, "sub": "joe", **claims}
        signed = pyjwt.encode(payload, self._key, "ES256", headers={"kid": "1"})
        return {"authorization": f"Bearer {signed}"}


@dataclass
class Bed:
    """All that runs."""

    callee: Callee
    authorizer: GrpcAuthorizer
    limiter: Limiter
    okta: Issuer
    corp: Issuer
    greeter: socket.socket

    def statuses(self, name: str, path: str, times: int, **how: Any) -> list[int]:
        """Return the answers to equal requests."""
        return [self.callee.ask(name, path, **how).status for _ in range(times)]


@pytest.fixture(scope="package")
def bed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bed]:
    authorizer, limiter = GrpcAuthorizer(), Limiter()
    okta, corp = Issuer("okta"), Issuer("corp")
    intentions = jwt.authentication([okta.provider], lambda provider: provider.name)
    with (
        http_server(Application) as app,
        http_server(HttpAuthorizer) as authz,
        grpc_server(authorizer, limiter) as grpc_port,
        socket.create_server(("127.0.0.1", 0)) as greeter,
        serving(
            TRAFFIC,
            {
                "app": (app, Protocol.HTTP),
                "plain": (greeter.getsockname()[1], Protocol.TCP),
                "authz": (authz, Protocol.HTTP),
                "grpc": (grpc_port, Protocol.GRPC),
            },
            tmp_path_factory.mktemp("callee"),
            {"okta": okta.provider, "corp": corp.provider},
            {"behind": [("inbound-jwt", tokens.kept(intentions, TRAFFIC["behind"].routes))]},
        ) as callee,
    ):
        try:
            yield Bed(callee, authorizer, limiter, okta, corp, greeter)
        finally:
            Application.released.set()
