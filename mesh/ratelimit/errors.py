"""What an operator can act on."""

from __future__ import annotations


class RateLimitError(Exception):
    """The service cannot run; ``remedy`` says what to do about it."""

    def __init__(self, message: str, *, remedy: str) -> None:
        """Write the failure and the remedy in one sentence."""
        super().__init__(f"{message}; {remedy}")
        self.remedy = remedy


class ExtraMissingError(RateLimitError):
    """A library that the service is built on is not installed."""

    def __init__(self, package: str) -> None:
        """Name the extra that brings it."""
        super().__init__(
            f"the rate limit service cannot run: the package {package} is not installed",
            remedy="run: pip install 'consul-mesh[ratelimit]'",
        )


class PortTakenError(RateLimitError):
    """An address cannot be listened on."""

    def __init__(self, what: str, place: str, reason: str) -> None:
        """Name the address and how to find who holds it."""
        port = place.rpartition(":")[2]
        super().__init__(
            f"{what} cannot listen on {place}: {reason}",
            remedy=f"see who holds it (ss -ltnp 'sport = :{port}') and stop that, "
            "or choose another address",
        )


class StoreUnavailableError(Exception):
    """The counters cannot be asked now; the caller's proxy does as its policy says for that.

    ``kind`` is one word for the metrics.
    """

    def __init__(self, kind: str, reason: str) -> None:
        """Keep why."""
        super().__init__(reason)
        self.kind = kind
