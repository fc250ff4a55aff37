"""A join from the plan to a proxy that is ready and registered; or to nothing at all.

What fails, fails loudly: with the proxy's own reason, and the line of its journal that explains it.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from mesh.vm import asking, report, systemd
from mesh.vm.changes import Changes
from mesh.vm.errors import JoinFailedError, VmError
from mesh.vm.layout import unit
from mesh.vm.plan import Plan
from mesh.vm.request import Join
from mesh.vm.steps import Restart, Start

_POLL: Final = 0.2
_ENDS: Final = (signal.SIGTERM, signal.SIGHUP)
_CRASHES: Final = 2
"""Times that a proxy may end by itself before it is given up."""
_ENDED: Final = "auto-restart"
_REFUSALS: Final = frozenset({"2", "3"})
"""Exit codes of an agent that will not have it otherwise: wrong input, or a zone that refuses."""


@dataclass(frozen=True, slots=True)
class Teller:
    """Who is told of a join: of each step, and of what is waited for."""

    step: Callable[[str], None]
    waiting: Callable[[str], None]


def join(wanted: Join, plan: Plan, teller: Teller, *, patience: float) -> Mapping[str, Any]:
    """Carry out ``plan`` and wait until the proxy serves; return its page ``/status``.

    Args:
        wanted: the service.
        plan: the steps; with none, the proxy is only waited for.
        teller: who is told.
        patience: seconds to wait.

    Raises:
        JoinFailedError: it did not come up; nothing that the plan made is left.

    """
    began = time.time()
    for number in _ENDS:
        # A terminal that hangs up takes a join back, as Ctrl-C does.
        signal.signal(number, signal.default_int_handler)
    changes = Changes(teller.step)
    own = unit(wanted.service)
    # The run of the unit that must not be taken for the one that the plan starts.
    before = _run(own) if any(each in plan.steps for each in (Start(own), Restart(own))) else None
    try:
        changes.apply(plan.steps)
        said = _wait(wanted, plan, teller.waiting, patience=patience, before=before)
        changes.apply(plan.later)
        changes.keep()
    except (VmError, OSError, KeyboardInterrupt) as error:
        for number in (signal.SIGINT, *_ENDS):
            # Half a way back is no place to stop, however long a proxy drains.
            signal.signal(number, signal.SIG_IGN)
        raise _failed(wanted, error, changes, began, changed=not plan.is_nothing) from error
    except BaseException:
        changes.take_back()
        raise
    return said


def _wait(
    wanted: Join, plan: Plan, tell: Callable[[str], None], *, patience: float, before: str | None
) -> Mapping[str, Any]:
    own, until, told = unit(wanted.service), time.monotonic() + patience, ""
    base = _restarts(own)
    while True:
        is_old = before is not None and _run(own) in {before, ""}
        if is_old:
            said, reason = None, "its unit starts; one that ran before drains first"
        else:
            said = asking.ask(plan.ports.listen)
            reason = report.not_joined(said, wanted.service)
        if said is not None and not reason:
            return said
        if reason != told:
            tell(reason)
            told = reason
        found = systemd.show(own, ("ActiveState", "SubState", "ExecMainStatus"))
        refused = found.get("SubState") == _ENDED and found.get("ExecMainStatus") in _REFUSALS
        restarts = _restarts(own)
        base = min(base, restarts)  # systemd counts anew when it is asked for a start
        gone = found.get("ActiveState") == "failed" or restarts - base >= _CRASHES
        if not is_old and (refused or gone):
            raise VmError(f"{own} does not stay up", "")
        if time.monotonic() >= until:
            raise VmError(f"not ready after {patience:.0f} s: {reason}", "")
        time.sleep(_POLL)


def _run(own: str) -> str:
    """Return what systemd calls the present run of a unit; empty if it does not run."""
    return systemd.show(own, ("InvocationID",)).get("InvocationID", "")


def _restarts(own: str) -> int:
    return int(systemd.show(own, ("NRestarts",)).get("NRestarts") or 0)


def _failed(
    wanted: Join, error: BaseException, changes: Changes, began: float, *, changed: bool
) -> JoinFailedError:
    """Take everything back, and say what happened in the words of the journal."""
    own = unit(wanted.service)
    try:
        lines = systemd.journal(own, began)
    except VmError as unread:
        lines = (f"(the journal cannot be read: {unread.message})",)
    left = changes.take_back()
    what = getattr(error, "message", str(error)) or "interrupted"
    remedies = [str(getattr(error, "remedy", ""))]
    explained = report.explanation(lines)
    if explained:
        remedies.append(f"`journalctl -u {own} --since @{int(began)}` says: {explained}")
    if left:
        remedies.append(f"These could not be taken back: {'; '.join(left)}.")
    elif changed:
        remedies.append("Nothing that this join made is left; mend it and join again.")
    remedy = "\n".join(each for each in remedies if each)
    return JoinFailedError(f"{wanted.service} did not join: {what}", remedy)
