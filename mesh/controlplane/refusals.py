"""Why somebody gets no certificate, in words for him and in one word for the figures."""

from __future__ import annotations

import enum


class Reason(enum.StrEnum):
    """The kinds of refusal, as metrics and audit lines name them."""

    MALFORMED = "malformed"
    FOREIGN = "foreign"
    TAMPERED = "tampered"
    EXPIRED = "expired"
    NOT_YET_VALID = "not-yet-valid"
    WRONG_SERVICE = "wrong-service"
    REPLAYED = "replayed"
    REVOKED = "revoked"
    UNKNOWN_TOKEN = "unknown-token"
    NO_PERMISSION = "no-permission"
    ACLS_OFF = "acls-off"
    BAD_CSR = "bad-csr"
    RATE = "rate"


class RefusedError(Exception):
    """A proof or a request was refused.  ``remedy`` says what its sender should do."""

    def __init__(self, reason: Reason, message: str, *, remedy: str) -> None:
        """Keep the parts; each has its own place in the answer."""
        super().__init__(f"{message}; {remedy}")
        self.reason = reason
        self.message = message
        self.remedy = remedy


class TooManyRequestsError(RefusedError):
    """The sender, or everybody together, asks too often; ``retry_after`` is in seconds."""

    def __init__(self, retry_after: float) -> None:
        """Say when to come back."""
        super().__init__(
            Reason.RATE,
            "too many certificates were asked for",
            remedy=f"try again in {retry_after:.1f} seconds",
        )
        self.retry_after = retry_after
