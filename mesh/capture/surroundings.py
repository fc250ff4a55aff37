"""What the plan needs to know of this host: its users, its cgroups, who came by SSH."""

from __future__ import annotations

import os
import pwd
from dataclasses import replace
from pathlib import Path
from typing import Final

from mesh.capture.plan import Plan

CGROUPS: Final = Path("/sys/fs/cgroup")
"""Where nft looks for cgroups, and nowhere else."""
_SSH: Final = "SSH_CONNECTION="


def uid(name: str) -> int | None:
    """Return the uid of a user of this host, None if there is no such user."""
    try:
        return pwd.getpwnam(name).pw_uid
    except KeyError:
        return None


def with_cgroups_there(plan: Plan, root: Path = CGROUPS) -> tuple[Plan, list[str]]:
    """Leave out the cgroups that are not there, which nft would refuse; return them too.

    A service's cgroup is there only while the service runs, and another one each time.
    """
    missing = sorted(
        cgroup for taker in plan.takers for cgroup in taker.cgroups if not (root / cgroup).is_dir()
    )
    takers = tuple(
        replace(taker, cgroups=tuple(each for each in taker.cgroups if each not in missing))
        for taker in plan.takers
    )
    return replace(plan, takers=takers), missing


def ssh_connection(given: str) -> str:
    """Return ``SSH_CONNECTION``, as this process was given it or else a process above it.

    sudo does not hand it on.
    """
    pid = os.getppid()
    while not given and pid > 1:
        try:
            variables = Path(f"/proc/{pid}/environ").read_bytes().decode(errors="replace")
            status = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
        except OSError:
            # Ended meanwhile, or another user's: nobody above it can be seen either.
            return ""
        found = (each for each in variables.split("\0") if each.startswith(_SSH))
        given = next(found, "").removeprefix(_SSH)
        # The name, in brackets, may hold anything: what follows the last one is numbers.
        pid = int(status.rpartition(")")[2].split()[1])
    return given
