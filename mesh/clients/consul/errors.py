"""What can go wrong between the mesh and Consul.

Every message names the request (method, path, address) and what to do about it.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Call:
    """The request that went wrong."""

    method: str
    path: str
    address: str

    def __str__(self) -> str:
        """Write it as an operator would look for it in a log."""
        return f"{self.method} {self.path} at {self.address}"


class ConsulError(Exception):
    """A request to Consul did not succeed; ``remedy`` says what to do."""

    def __init__(self, what: str, call: Call, remedy: str) -> None:
        """Say what failed, on what, and what to do."""
        super().__init__(f"Consul: {what} ({call}). {remedy}")
        self.what = what
        self.call = call
        self.remedy = remedy


class Unreachable(ConsulError):  # noqa: N818 - reads as the state of things in an except clause
    """No connection, or it broke before an answer came."""

    def __init__(self, call: Call, reason: str) -> None:
        """``reason`` is the system's own."""
        super().__init__(
            f"no answer: {reason}",
            call,
            "Check that the agent runs there, that the address, scheme and certificates are "
            "right, and that its http_max_conns_per_client is not used up.",
        )


class Timeout(ConsulError):  # noqa: N818 - likewise
    """No answer within the deadline."""

    def __init__(self, call: Call, seconds: float) -> None:
        """``seconds`` is the deadline that passed."""
        super().__init__(
            f"no answer within {seconds:g} s",
            call,
            "Check the load of the Consul agent and whether its servers have a leader.",
        )


class Malformed(ConsulError):  # noqa: N818 - likewise
    """An answer that is not what Consul sends."""

    def __init__(self, call: Call, reason: str) -> None:
        """``reason`` says where it departs from the expected."""
        super().__init__(
            f"unexpected answer: {reason}",
            call,
            "Check that the address is a Consul agent's HTTP API and no proxy stands between.",
        )


class Refused(ConsulError):  # noqa: N818 - likewise
    """Consul answered with an error status; ``status`` and ``words`` are Consul's."""

    def __init__(self, call: Call, status: int, words: str, remedy: str = "") -> None:
        """Keep Consul's own words."""
        default = (
            "Check the Consul servers: they may have no leader, or the datacenter is unreachable."
            if status >= _SERVER_ERROR
            else "Consul does not accept the request; its own words say why."
        )
        super().__init__(f"refused with {status}: {words}", call, remedy or default)
        self.status = status
        self.words = words


class Forbidden(Refused):
    """403: the token is unknown, or may not do this."""

    def __init__(self, call: Call, words: str) -> None:
        """Keep Consul's own words."""
        super().__init__(
            call,
            403,
            words,
            "Use a token that Consul knows and whose policies allow this request "
            "(`consul acl token read -self` shows them).",
        )


class Unsupported(ConsulError):  # noqa: N818 - likewise
    """The server is too old for a feature."""

    def __init__(self, feature: str, needs: str, call: Call) -> None:
        """``needs`` is the first version that has ``feature``."""
        super().__init__(
            f"{feature} needs Consul {needs} or newer",
            call,
            "Upgrade the Consul servers, or do without it.",
        )
        self.feature = feature
        self.needs = needs


_SERVER_ERROR = 500
