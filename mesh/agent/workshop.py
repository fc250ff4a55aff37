"""The parent's side of :mod:`mesh.agent.keys`: a child that lives for one enrolment or renewal."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from types import TracebackType
from typing import Any, Self

from mesh.agent.errors import AgentError

_PATIENCE = 30.0


@dataclass(frozen=True, slots=True)
class Validity:
    """What a certificate says of itself."""

    not_before: datetime
    not_after: datetime
    serial: str


class Workshop:
    """Makes keys and requests and reads certificates, in a child process.

    A context manager; the child ends with the block, whatever it was doing.
    """

    def __init__(self) -> None:
        """Start nothing yet."""
        self._child: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        """Start the child."""
        self._child = subprocess.Popen(
            [sys.executable, "-m", "mesh.agent.keys"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """End the child: it holds nothing that could be lost."""
        child = self._child
        if child is None:
            return
        self._child = None
        child.kill()
        with child:
            pass  # closes the pipes and reaps

    async def request(self, uri: str, key: str | None = None) -> tuple[str, str]:
        """Return a key (a new one unless given) and its signing request for ``uri``."""
        said = await self._ask({"do": "request", "uri": uri, "key": key})
        return said["key"], said["csr"]

    async def inspect(self, chain: str, key: str, uri: str) -> Validity:
        """Check that ``chain`` begins with a certificate of ``key`` for ``uri``.

        Raises:
            AgentError: it does not.

        """
        return _validity(await self._ask({"do": "inspect", "chain": chain, "key": key, "uri": uri}))

    async def server_request(self, names: Sequence[str]) -> tuple[str, str]:
        """Return a new key and its signing request for a server of the DNS ``names``."""
        said = await self._asked({"do": "server request", "names": list(names)})
        if "error" in said:
            raise AgentError(
                f"cannot make a key for {', '.join(names)}: {said['error']}",
                "Are these DNS names?",
            )
        return said["key"], said["csr"]

    async def server_chain(self, leaf: str, issuers: Sequence[str], place: str) -> str:
        """Return ``leaf`` and behind it those of ``issuers`` (PEM, any order) above it, no root.

        Raises:
            AgentError: what ``place`` signed cannot be read.

        """
        question = {"do": "server chain", "leaf": leaf, "issuers": list(issuers)}
        said = await self._asked(question)
        if "error" in said:
            raise AgentError(
                f"what {place} signed cannot be used: {said['error']}",
                "Is it a role of a PKI mount?",
            )
        return said["chain"]

    async def server_inspect(self, chain: str, key: str, place: str) -> Validity:
        """Check that ``chain``, found at ``place``, begins with a certificate of ``key``.

        Raises:
            AgentError: it does not.

        """
        said = await self._asked({"do": "server inspect", "chain": chain, "key": key})
        if "error" in said:
            raise AgentError(
                f"{place} cannot be used: {said['error']}",
                "It must hold PEM: certificate (the server's first) and private_key, its key.",
            )
        return _validity(said)

    async def _ask(self, question: dict[str, Any]) -> dict[str, str]:
        said = await self._asked(question)
        if "error" in said:
            raise AgentError(
                f"cannot {question['do']} a certificate for {question['uri']}: {said['error']}",
                "If it persists, remove enrolment.key from the state directory and enrol with a "
                "new token.",
            )
        return said

    async def _asked(self, question: dict[str, Any]) -> dict[str, str]:
        child = self._child
        if child is None:
            raise RuntimeError("the workshop is closed")
        async with asyncio.timeout(_PATIENCE):
            line = await asyncio.to_thread(_exchange, child, json.dumps(question).encode())
        said: dict[str, str] = json.loads(line) if line else {"error": "its process ended"}
        return said


def _validity(said: dict[str, str]) -> Validity:
    return Validity(
        datetime.fromisoformat(said["not_before"]),
        datetime.fromisoformat(said["not_after"]),
        said["serial"],
    )


def _exchange(child: subprocess.Popen[bytes], line: bytes) -> bytes:
    if child.stdin is None or child.stdout is None:
        raise AssertionError  # both are pipes
    try:
        child.stdin.write(line + b"\n")
        child.stdin.flush()
    except BrokenPipeError:
        return b""
    return child.stdout.readline()
