"""The ``nft`` program: the only way in which the mesh speaks to the kernel's packet filter.

What is loaded and what is planned are compared as nft writes both.  The plan is read back from a
table that is dormant, so that no packet meets it.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Sequence
from typing import Any, Final

from mesh.capture.errors import CaptureError
from mesh.capture.plan import Plan
from mesh.capture.table import NAME, removal, table

_PLANNED: Final = "mesh_planned"
"""The dormant table."""
_NO_TABLE: Final = "No such file or directory"
_PATIENCE: Final = 30.0
_INSTALL: Final = "install nftables (apt-get install nftables, dnf install nftables)"
_BE_ROOT: Final = "run it as root (CAP_NET_ADMIN is what it needs)"


class Nft:
    """Loads and lists tables.  ``command`` is the program, with what stands before it."""

    def __init__(self, command: Sequence[str] = ("nft",)) -> None:
        """Keep the command."""
        self.command = tuple(command)

    def load(self, script: str, *, check: bool = False, held: Sequence[int] = ()) -> None:
        """Carry out ``script`` in one transaction; with ``check``, only tell whether it could be.

        ``held`` are descriptors that stay open until nft ends, even if this process is killed.

        Raises:
            CaptureError: the kernel or nft refused it; nothing was changed.

        """
        options = ["--check"] if check else []
        ran = self._run(*options, "--file", "-", text=script, held=held)
        if ran.returncode:
            raise _refused("the table is refused", ran.stderr)

    def listed(self, name: str = NAME) -> str:
        """Return the table as nft writes it, without counters; empty if there is none.

        Raises:
            CaptureError: it cannot be asked for.

        """
        ran = self._run("--stateless", "list", "table", "inet", name)
        if ran.returncode and _NO_TABLE in ran.stderr:
            return ""
        if ran.returncode:
            raise _refused("the table cannot be listed", ran.stderr)
        # The blank lines are not the same with a flag as without.
        return "".join(f"{line}\n" for line in ran.stdout.splitlines() if line.strip())

    def objects(self) -> list[dict[str, Any]]:
        """Return chains and rules of the table, with counters; none if there is no table.

        Raises:
            CaptureError: they cannot be asked for.

        """
        ran = self._run("--json", "list", "table", "inet", NAME)
        if ran.returncode and _NO_TABLE in ran.stderr:
            return []
        if ran.returncode:
            raise _refused("the table cannot be listed", ran.stderr)
        found: list[dict[str, Any]] = json.loads(ran.stdout)["nftables"]
        return found

    def as_listed(self, plan: Plan) -> str:
        """Return what :meth:`listed` will say when ``plan`` is loaded.

        Raises:
            CaptureError: it would be refused.

        """
        self.load(removal(_PLANNED) + table(plan, name=_PLANNED, dormant=True))
        try:
            found = self.listed(_PLANNED)
        finally:
            self.load(removal(_PLANNED))
        lines = [line for line in found.splitlines() if line.strip() != "flags dormant"]
        lines[0] = lines[0].replace(_PLANNED, NAME)
        return "".join(f"{line}\n" for line in lines)

    def _run(
        self, *arguments: str, text: str = "", held: Sequence[int] = ()
    ) -> subprocess.CompletedProcess[str]:
        try:
            return subprocess.run(  # noqa: S603 - the arguments are ours, the script is its input
                [*self.command, *arguments],
                input=text,
                capture_output=True,
                text=True,
                timeout=_PATIENCE,
                check=False,
                pass_fds=held,
            )
        except FileNotFoundError as error:
            raise CaptureError(f"there is no program {self.command[0]}", remedy=_INSTALL) from error
        except subprocess.TimeoutExpired as error:
            raise CaptureError(
                f"nft did not answer within {_PATIENCE:.0f} s",
                remedy="see what holds the kernel's rule set (ps, dmesg)",
            ) from error


def _refused(what: str, reason: str) -> CaptureError:
    lines = [line.strip() for line in reason.splitlines() if line.strip()]
    said = lines[0] if lines else "nft gave no reason"
    if "Operation not permitted" in reason:
        return CaptureError(f"{what}: not permitted", remedy=_BE_ROOT)
    return CaptureError(
        f"{what}: {said.removeprefix('Error: ')}",
        remedy="see that the kernel has nf_tables with nat, redirect, socket, fib and reject",
    )
