"""Refusals, each with the HTTP status and the plain text with which Consul would answer."""

from __future__ import annotations


class RefusedError(Exception):
    """A request cannot be done; nothing of it was."""

    def __init__(self, message: str, status: int = 500) -> None:
        """Keep the answer.  Consul says 500 for most of what it refuses."""
        super().__init__(message)
        self.status = status
