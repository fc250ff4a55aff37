"""What can go wrong on a host, for the person at its terminal."""

from __future__ import annotations


class VmError(Exception):
    """A host cannot be brought into the mesh, or out of it; ``remedy`` says what would help."""

    def __init__(self, message: str, remedy: str) -> None:
        """Keep both halves."""
        super().__init__(f"{message}\n  {remedy}" if remedy else message)
        self.message = message
        self.remedy = remedy


class JoinFailedError(VmError):
    """A service did not come up in the mesh.  What was made for it is removed again."""
