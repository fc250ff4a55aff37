"""A Vault on loopback for what a real one cannot be brought to say: odd answers, odd lives.

It counts what it is asked.  What is in ``answers``, by path, holds over everything else.
"""

from __future__ import annotations

import asyncio
import json
import ssl
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from mesh.agent.settings import Vault as Settings
from mesh.aio.clock import ManualClock
from mesh.demo.loopback import HOST
from tests.agent.pki import Authority

LOGIN: Final = "auth/approle/login"
LOOKUP: Final = "auth/token/lookup-self"

Answer = tuple[int, object]
"""HTTP's status, and a body: bytes as they are, anything else as JSON."""


@dataclass
class FakeVault:
    """The running server; certificates that it signs are valid by ``clock``."""

    clock: ManualClock
    directory: Path
    answers: dict[str, Answer] = field(default_factory=dict)
    asked: Counter[str] = field(default_factory=Counter)
    lives: timedelta = timedelta(hours=1)
    backdated: timedelta = timedelta(seconds=30)
    open: asyncio.Event = field(default_factory=asyncio.Event)
    """Logins are answered while it is set."""
    watch: Callable[[str], object] = str
    """Hears each path that is asked for."""
    authority: Authority = field(default_factory=lambda: Authority("clients.test"))
    _port: int = 0
    _tls: bool = False

    @property
    def settings(self) -> Settings:
        """Where it is, and an AppRole."""
        for name in ("role-id", "secret-id"):
            (self.directory / name).write_text(name)
        return Settings(
            address=f"https://localhost:{self._port}"
            if self._tls
            else f"http://{HOST}:{self._port}",
            role_id_file=self.directory / "role-id",
            secret_id_file=self.directory / "secret-id",
        )

    def keep(self, path: str, chain: str, key: str) -> None:
        """Keep a certificate in the store ``secret``."""
        data = {"data": {"data": {"certificate": chain, "private_key": key}}}
        self.answers[f"secret/data/{path}"] = (200, data)

    def leaf(self, name: str) -> tuple[str, str]:
        """Return a certificate and its key."""
        return self.authority.leaf(uri=f"https://{name}", dns=name)

    @classmethod
    @asynccontextmanager
    async def running(
        cls, clock: ManualClock, directory: Path, tls: ssl.SSLContext | None = None
    ) -> AsyncIterator[FakeVault]:
        """Serve until the block ends, over TLS or in the clear."""
        fake = cls(clock, directory, _tls=tls is not None)
        fake.open.set()
        server = await asyncio.start_server(fake._connected, HOST, 0, ssl=tls)
        fake._port = server.sockets[0].getsockname()[1]
        async with server:
            yield fake

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            length = next(
                (
                    int(line.partition(":")[2])
                    for line in head.split("\r\n")
                    if line.lower().startswith("content-length:")
                ),
                0,
            )
            body = await reader.readexactly(length)
            path = head.split(" ")[1].removeprefix("/v1/")
            self.asked[path] += 1
            self.watch(path)
            if path == LOGIN:
                await self.open.wait()
            status, said = self.answers.get(path) or self._answer(path, body)
            raw = said if isinstance(said, bytes) else json.dumps(said).encode()
            writer.write(
                f"HTTP/1.1 {status} X\r\nContent-Length: {len(raw)}\r\n\r\n".encode() + raw
            )
            await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError):
            pass  # the agent has gone
        finally:
            writer.close()

    def _answer(self, path: str, body: bytes) -> Answer:
        if path == LOGIN:
            token = f"token-{self.asked[LOGIN]}"
            return 200, {"auth": {"client_token": token, "lease_duration": 3600}}
        if path == LOOKUP:
            return 200, {"data": {}}
        if "/sign/" in path:
            return 200, {"data": self._signed(json.loads(body)["csr"])}
        return 404, {"errors": []}

    def _signed(self, csr: str) -> dict[str, Any]:
        request = x509.load_pem_x509_csr(csr.encode())
        names = request.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        now: datetime = self.clock.now()
        key = request.public_key()
        assert isinstance(key, ec.EllipticCurvePublicKey)
        certificate = self.authority.certify(
            key,
            uri="https://signed",
            dns=names.get_values_for_type(x509.DNSName)[0],
            validity=(now - self.backdated, now + self.lives),
        )
        return {"certificate": certificate, "issuing_ca": self.authority.root, "ca_chain": []}


@dataclass(frozen=True, slots=True)
class Link:
    """A certificate with its key, to sign others with."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey

    @property
    def pem(self) -> str:
        """The certificate."""
        return self.certificate.public_bytes(serialization.Encoding.PEM).decode()

    @classmethod
    def signed(cls, name: str, by: Link | None = None, same: Link | None = None) -> Link:
        """Return an authority ``name`` below ``by``, or a root; with the key of ``same``."""
        key = same.key if same is not None else ec.generate_private_key(ec.SECP256R1())
        subject = _named(name)
        clock = ManualClock()
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(by.certificate.subject if by is not None else subject)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(clock.now())
            .not_valid_after(clock.now() + timedelta(days=1))
        )
        return cls(builder.sign(by.key if by is not None else key, hashes.SHA256()), key)


def _named(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
