"""What went wrong, for the person at the terminal, and the exit code that says so to a script.

An error that the mesh foresaw says what failed, on what, and what to do; it is printed as that.
Anything else is a defect and keeps its traceback.
"""

from __future__ import annotations

import sys
from typing import Final

import typer

from mesh.aio.journal import prefixed
from mesh.config.service_manager import is_journal

NO: Final = 1
"""The answer is no: denied, or a check failed."""
BAD_INPUT: Final = 2
"""The command or an input is wrong."""
NO_SERVER: Final = 3
"""A server could not be reached, or refused."""
INTERRUPTED: Final = 130
"""Ctrl-C."""

EXIT_CODES: Final = (
    "Exit codes: 0 done, or the answer is yes; 1 the answer is no, or a check failed; "
    "2 the command or an input is wrong; 3 a server could not be reached or refused; "
    "130 interrupted."
)

EXITS: Final = {
    "mesh.model.violations.InvalidInputError": BAD_INPUT,
    "mesh.model.names.InvalidNameError": BAD_INPUT,
    "mesh.clients.consul.errors.ConsulError": NO_SERVER,
    "mesh.clients.vault.errors.HvacMissingError": BAD_INPUT,
    "mesh.clients.vault.errors.VaultError": NO_SERVER,
    "mesh.clients.zone.ZoneError": NO_SERVER,
    "mesh.ca.issuer.IssuerError": NO_SERVER,
    "mesh.xds.server.ListenError": BAD_INPUT,
    "mesh.embedded.persistence.PersistenceError": BAD_INPUT,
    "mesh.agent.errors.AgentError": BAD_INPUT,
    "mesh.agent.errors.ZoneUnreachableError": NO_SERVER,
    "mesh.agent.errors.ZoneRefusedError": NO_SERVER,
    "mesh.agent.errors.BundleMismatchError": NO_SERVER,
    "mesh.cli.config.NoEnvoyError": NO_SERVER,
    "mesh.demo.processes.ProcessError": NO_SERVER,
    "mesh.vm.errors.VmError": BAD_INPUT,
    "mesh.vm.errors.JoinFailedError": NO_SERVER,
    "mesh.ratelimit.errors.RateLimitError": BAD_INPUT,
    "mesh.capture.errors.CaptureError": BAD_INPUT,
    "mesh.capture.errors.RolledBackError": NO,
}
"""Exit codes by class.  By name, because whoever imports the classes imports their rooms; an
error can only be raised by a room that is imported."""


def known() -> tuple[type[Exception], ...]:
    """Return the foreseen errors that can occur by now."""
    return tuple(found for name in EXITS if (found := _loaded(name)) is not None)


def exit_code(error: BaseException) -> int:
    """Return the exit code of a foreseen error: that of its nearest class in the table."""
    for each in type(error).__mro__:
        code = EXITS.get(f"{each.__module__}.{each.__qualname__}")
        if code is not None:
            return code
    return NO


def report(error: BaseException) -> None:
    """Print what failed and, on a line of its own, what to do."""
    what, remedy = parts(error)
    text = f"error: {what}" + (f"\nremedy: {remedy}" if remedy else "")
    typer.echo(prefixed(text) if is_journal() else text, err=True)


def parts(error: BaseException) -> tuple[str, str]:
    """Split an error into what failed, on what, and what to do about it."""
    what = str(error)
    remedy = str(getattr(error, "remedy", "") or "")
    return what.removesuffix(remedy).rstrip(" \n;"), remedy


def _loaded(name: str) -> type[Exception] | None:
    module, _, attribute = name.rpartition(".")
    found: type[Exception] | None = getattr(sys.modules.get(module), attribute, None)
    return found
