"""What an operator can act on."""

from __future__ import annotations


class CaptureError(Exception):
    """Capture cannot be put, taken or looked at; ``remedy`` says what to do about it."""

    def __init__(self, message: str, *, remedy: str) -> None:
        """Write the failure and the remedy in one sentence."""
        super().__init__(f"{message}; {remedy}")
        self.remedy = remedy


class RolledBackError(CaptureError):
    """The table was applied and taken back."""
