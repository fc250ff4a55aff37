"""Why a join token is refused: one error for each reason, each with its remedy."""

from __future__ import annotations


class JoinTokenError(Exception):
    """A join token was refused; ``remedy`` says what its bearer should do."""

    remedy = "ask for a new one with 'mesh token create'"

    def __init__(self, message: str) -> None:
        """Write the reason and the remedy in one sentence."""
        super().__init__(f"the join token {message}; {self.remedy}")


class MalformedTokenError(JoinTokenError):
    """It is not a join token at all."""

    remedy = "pass the token exactly as 'mesh token create' printed it"


class ForeignTokenError(JoinTokenError):
    """Another zone, trust domain or CA signed it."""

    remedy = "enrol at the zone that made it, or make one here with 'mesh token create'"


class TamperedTokenError(JoinTokenError):
    """Its signature does not fit its content."""

    remedy = "pass the token exactly as 'mesh token create' printed it"


class ExpiredTokenError(JoinTokenError):
    """Its time is over, or its signer's was."""


class NotYetValidTokenError(JoinTokenError):
    """It is from the future."""

    remedy = "set the clocks of the zone and of the host right (NTP)"


class WrongServiceError(JoinTokenError):
    """It is for another service."""

    remedy = "ask for one for this service with 'mesh token create --service'"
