"""What can go wrong for an operator: each error says what failed and what to do about it."""

from __future__ import annotations


class AgentError(Exception):
    """The agent cannot go on as it is; ``remedy`` says what would help."""

    def __init__(self, message: str, remedy: str) -> None:
        """Keep both halves."""
        super().__init__(f"{message}\n  {remedy}" if remedy else message)
        self.message = message
        self.remedy = remedy


class SettingsError(AgentError):
    """The settings file is not what ``mesh proxy`` writes."""


class StateError(AgentError):
    """The state directory cannot be used."""


class ForeignStateError(StateError):
    """The state directory was made on another machine than this one."""


class ZoneUnreachableError(AgentError):
    """No address of the zone's API answered."""


class ZoneRefusedError(AgentError):
    """The zone answered and said no; ``status`` is HTTP's."""

    def __init__(self, status: int, message: str, remedy: str) -> None:
        """Keep the status too."""
        super().__init__(message, remedy)
        self.status = status

    @property
    def final(self) -> bool:
        """Whether asking again in the same way is pointless."""
        # 408, 409 (two replicas at once), 425 and 429 are about the moment, not the question.
        return 400 <= self.status < 500 and self.status not in {408, 409, 425, 429}  # noqa: PLR2004 - HTTP's client errors


class BundleMismatchError(AgentError):
    """What claims to be the zone is not vouched for by the bundle that was pinned."""


class ClockSkewError(AgentError):
    """A certificate is not valid at what this machine believes to be the time."""


class ProofError(AgentError):
    """The token that should prove who we are cannot be read."""


class EnvoyMissingError(AgentError):
    """There is no Envoy to start."""


class PortTakenError(AgentError):
    """Somebody else listens where the proxy should."""
