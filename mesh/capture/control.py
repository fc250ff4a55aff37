"""The connections by which the operator controls this host, and the proof that they still work.

Before the table is applied, none may be one that it would capture.  Afterwards, the SSH session
must be alive, and it and every guarded place must take a new connection.
"""

from __future__ import annotations

import socket
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Final

from mesh.capture.errors import CaptureError
from mesh.capture.plan import ROOT, Plan
from mesh.capture.sockets import Place, State, sockets
from mesh.capture.verdict import Inbound, Outbound, verdict
from mesh.config.types import HostPort

_PATIENCE: Final = 3.0
_SSH_WORDS: Final = 4


@dataclass(frozen=True, slots=True)
class Control:
    """What must go on working: the SSH session, if there is one, and places that are dialled."""

    client: Place | None = None
    server: Place | None = None
    guards: Sequence[HostPort] = ()

    def refuse_captured(self, plan: Plan) -> None:
        """See that ``plan`` captures none of it.

        Raises:
            CaptureError: it does.

        """
        if self.server is not None and verdict(plan, Inbound(self.server.port)) is not None:
            raise CaptureError(
                f"port {self.server.port} would be captured, and this SSH session came by it",
                remedy="take it out of `inbound`",
            )
        for guard in self.guards:
            try:
                address = ip_address(guard.host)
            except ValueError as error:
                raise CaptureError(
                    f"--guard {guard} is no IP address", remedy="write it as 10.0.0.5:443"
                ) from error
            port = verdict(plan, Outbound(address, guard.port, ROOT))
            if port is not None:
                raise CaptureError(
                    f"connections to {guard} would be captured (port {port})",
                    remedy="take it into `exclude`, or do not guard it",
                )

    def broken(self) -> str:
        """Return what of it does not work now; empty if all does."""
        if self.client is not None and self.server is not None:
            if not _alive(self.client, self.server):
                return f"the SSH session from {self.client.address} is dead"
            reason = _dialled(str(self.server.address), self.server.port)
            if reason:
                return f"SSH on {self.server.address} port {self.server.port}: {reason}"
        for guard in self.guards:
            reason = _dialled(guard.host, guard.port)
            if reason:
                return f"{guard}: {reason}"
        return ""


def control(ssh: str, guards: Sequence[HostPort]) -> Control:
    """Read ``SSH_CONNECTION`` (empty where nobody came by SSH).

    Raises:
        CaptureError: it is not what sshd writes (ssh(1)).

    """
    words = ssh.split()
    if not words:
        return Control(guards=tuple(guards))
    try:
        client, client_port, server, server_port = words
        return Control(
            Place(_address(client), int(client_port)),
            Place(_address(server), int(server_port)),
            tuple(guards),
        )
    except ValueError as error:
        raise CaptureError(
            f"SSH_CONNECTION is {ssh!r}, not {_SSH_WORDS} words with addresses and ports",
            remedy="unset it, and name what must go on working with --guard",
        ) from error


def _address(text: str) -> IPv4Address | IPv6Address:
    found = ip_address(text.partition("%")[0])
    return (found.ipv4_mapped or found) if isinstance(found, IPv6Address) else found


def _alive(client: Place, server: Place) -> bool:
    return any(
        each.local == server
        and each.remote == client
        and each.state == State.ESTABLISHED
        and not each.stuck
        for each in sockets()
    )


def _dialled(host: str, port: int) -> str:
    """Connect; return why that is not possible, empty if it is."""
    try:
        with socket.create_connection((host, port), _PATIENCE):
            return ""
    except OSError as error:
        return f"no new connection: {error.strerror or error}"
