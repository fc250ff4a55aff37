"""What every group of endpoints shares: asking, waiting, and turning a reply into an answer.

A blocking call takes the ``index`` of the last answer and a ``wait`` in seconds, and returns
when something changed or the wait is over.  Waiting reads are ``stale``: any server may answer,
which spares the leader and goes on while there is none.  Every call takes a ``token`` to act
with instead of the client's own.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import msgspec

from mesh.clients.consul.answers import Answer
from mesh.clients.consul.library import Library
from mesh.clients.consul.transport import Reply, Transport

T = TypeVar("T")

_JSON = msgspec.json.Encoder()
_ANYTHING = msgspec.json.Decoder()


class Calls:
    """The base of the client's groups of endpoints."""

    def __init__(self, transport: Transport) -> None:
        """Ask over ``transport``."""
        self.transport = transport
        self.library = Library(transport)

    async def _read(
        self,
        path: str,
        decode: Callable[[bytes], T],
        *,
        index: int = 0,
        wait: float = 0,
        token: str = "",
        params: Sequence[tuple[str, str]] = (),
        empty: bytes = b"null",
    ) -> Answer[T]:
        """GET ``path``, which python-consul2 does not know or cannot block on."""
        reply = await self.transport.request(
            "GET",
            path,
            params=(*params, *self._datacenter(), *_blocking(index, wait)),
            headers=self._headers(token),
            wait=wait,
        )
        return answer(reply, decode, empty)

    async def _write(
        self,
        method: str,
        path: str,
        body: object = None,
        *,
        token: str = "",
        params: Sequence[tuple[str, str]] = (),
    ) -> Reply:
        """Send ``body`` as JSON."""
        return await self.transport.request(
            method,
            path,
            params=(*params, *self._datacenter()),
            headers=self._headers(token),
            body=b"" if body is None else _JSON.encode(body),
        )

    def _datacenter(self) -> Sequence[tuple[str, str]]:
        datacenter = self.transport.address.datacenter
        return (("dc", datacenter),) if datacenter else ()

    def _headers(self, token: str) -> Mapping[str, str]:
        token = token or self.transport.address.token
        return {"X-Consul-Token": token} if token else {}


def answer(reply: Reply, decode: Callable[[bytes], T], empty: bytes = b"null") -> Answer[T]:
    """Return ``reply`` as an answer; what does not exist reads as ``empty``."""
    return Answer(reply.call, reply.body if reply.found else empty, reply.index, decode)


def read(reply: Reply, decode: Callable[[bytes], T]) -> T:
    """Return the decoded body of ``reply`` at once.

    Raises:
        Malformed: it is not what Consul sends.

    """
    return answer(reply, decode).value


def anything(body: bytes) -> Any:
    """Decode JSON of any shape."""
    return _ANYTHING.decode(body)


def affirmed(reply: Reply) -> bool:
    """Whether Consul did what was asked: a compare-and-set that lost says ``false``."""
    return reply.found and reply.body.strip() != b"false"


def _blocking(index: int, wait: float) -> Sequence[tuple[str, str]]:
    if not wait:
        return ()
    ask = (("index", str(index)), ("wait", f"{wait:g}s")) if index else ()
    return (*ask, ("stale", ""))
