"""One route: who may call it, what it reads, what it answers, and what carries it out."""

from __future__ import annotations

import enum
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from pydantic import BaseModel

from mesh.model.identity import WorkloadId

Request = TypeVar("Request", bound=BaseModel)


class Caller(enum.Enum):
    """Who may call a route."""

    ANYBODY = "anybody"
    WORKLOAD = "workload"
    ADMIN = "admin"
    INVITED = "invited"
    """A zone that is to become a peer, by the name of the peering: it shows a token."""
    PEER = "peer"
    """A peer's control plane, by the peer's own name of the peering."""


class Reads(enum.Enum):
    """Where a route's request stands."""

    NOTHING = "nothing"
    BODY = "body"
    QUERY = "query"


@dataclass(frozen=True, slots=True)
class Peer:
    """The holder of the client certificate: who he is, and the certificate's serial (hex)."""

    identity: WorkloadId
    serial: str


@dataclass(frozen=True, slots=True)
class Call:
    """A call that was let in.  ``source`` is the caller's address, ``zone`` the peer that calls."""

    source: str
    path: Mapping[str, str]
    peer: Peer | None = None
    zone: str = ""

    @property
    def workload(self) -> Peer:
        """The caller of a route for workloads."""
        if self.peer is None:
            raise AssertionError  # the pipeline lets nobody in without
        return self.peer


@dataclass(frozen=True, slots=True)
class Route(Generic[Request]):
    """A method on a path.  ``reads`` says whether ``request`` is the body or the query.

    ``largest`` is how many bytes of a body are read, where that is more than usual.
    """

    method: str
    path: str
    summary: str
    caller: Caller
    reads: Reads
    request: type[Request]
    answer: type[BaseModel]
    handler: Callable[[Call, Request], Awaitable[BaseModel]]
    status: int = 200
    largest: int = 0


AnyRoute = Route[Any]
"""A route, whatever it reads."""
