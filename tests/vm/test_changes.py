"""A join that fails on its way: what was done is taken back, and what was not is said."""

from __future__ import annotations

import errno
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from mesh.vm import asking, joining, systemd
from mesh.vm import changes as module
from mesh.vm.changes import Changes
from mesh.vm.errors import JoinFailedError, VmError
from mesh.vm.layout import Ports
from mesh.vm.plan import Found, Plan
from mesh.vm.request import Join
from mesh.vm.steps import Expect, Restart, Start, Step, Stop, Systemctl, WriteFile

WEB = Join(service="web", app="127.0.0.1:8080", zone_api=("zone.example:5678",))


@pytest.fixture(autouse=True)
def called(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Programs of the system that were called; none of them is run."""
    calls: list[str] = []

    def run(*command: str) -> str:
        calls.append(" ".join(command))
        return ""

    monkeypatch.setattr(systemd, "run", run)
    monkeypatch.setattr(os, "chown", lambda *_: None)
    return calls


@pytest.fixture
def signals() -> Iterator[None]:
    """Give signals back that a join takes."""
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    kept = {each: signal.getsignal(each) for each in numbers}
    yield
    for number, handler in kept.items():
        signal.signal(number, handler)


def fails(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, name, full)


def silent(_: str) -> None:
    """Tell nobody."""


def test_a_file_that_cannot_be_written_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fails(monkeypatch, "fsync")
    done = Changes(silent)
    with pytest.raises(VmError, match="No space left"):
        done.apply([WriteFile(tmp_path / "web.token", "secret", mode=0o600)])
    assert done.take_back() == ()
    assert list(tmp_path.iterdir()) == []


def test_a_group_that_is_not_there_ends_a_join_as_any_failure_does(tmp_path: Path) -> None:
    file, other = tmp_path / "web.yaml", tmp_path / "web.token"
    file.write_text("old")
    done = Changes(silent)
    done.apply([WriteFile(file, "new")])
    with pytest.raises(VmError, match="there is no group nobodys-group"):
        done.apply([WriteFile(other, "new", group="nobodys-group")])
    assert done.take_back() == ()
    assert file.read_text() == "old"
    assert list(tmp_path.iterdir()) == [file]


def test_a_file_of_a_group_without_a_name_comes_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    owners: list[tuple[object, ...]] = []
    monkeypatch.setattr(os, "chown", lambda *words: owners.append(words[1:]))
    monkeypatch.setattr(module, "found_file", lambda _: Found("old", "4711", 0o640))
    file = tmp_path / "web.yaml"
    done = Changes(silent)
    done.apply([WriteFile(file, "new")])
    assert done.take_back() == ()
    assert file.read_text() == "old"
    assert owners[-1] == (0, 4711)


def test_state_that_cannot_be_removed_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = Changes(silent)
    done.apply([Expect(tmp_path / "never-made"), Expect(tmp_path)])
    fails(monkeypatch, "rmdir")
    (left,) = done.take_back()
    assert "No space left" in left


def test_who_ran_before_is_started_with_what_was_there_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "web.yaml"
    file.write_text("old")
    calls: list[tuple[str, str]] = []

    def run(*command: str) -> str:
        calls.append((" ".join(command[1:]), file.read_text()))
        return ""

    monkeypatch.setattr(systemd, "run", run)
    done = Changes(silent)
    steps = (Stop("copy"), WriteFile(file, "new"), Systemctl(("daemon-reload",)))
    done.apply((*steps, Start("copy"), Restart("web")))
    calls.clear()
    assert done.take_back() == ()
    assert calls == [
        ("stop copy", "new"),
        ("kill --kill-who=all --signal=KILL copy", "new"),
        ("daemon-reload", "old"),
        ("restart --no-block web", "old"),
        ("start --no-block copy", "old"),
    ]


def test_what_is_kept_is_not_taken_back(tmp_path: Path, called: list[str]) -> None:
    done = Changes(silent)
    done.apply([WriteFile(tmp_path / "web.yaml", "new"), Restart("web")])
    done.keep()
    called.clear()
    assert done.take_back() == ()
    assert called == ["systemctl daemon-reload"]
    assert (tmp_path / "web.yaml").read_text() == "new"


def test_the_journal_is_read_from_the_first_moment_on(called: list[str]) -> None:
    systemd.journal("mesh-proxy@web.service", 1000.6)
    assert "--since @1000.600 " in called[0]


def failed(steps: tuple[Step, ...], patience: float = 0) -> JoinFailedError:
    teller = joining.Teller(silent, silent)
    with pytest.raises(JoinFailedError) as error:
        joining.join(WEB, Plan(Ports(0), steps), teller, patience=patience)
    return error.value


def test_who_could_not_take_all_back_does_not_say_that_nothing_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, signals: None
) -> None:
    unwritable = WriteFile(tmp_path / "absent" / "web.yaml", "new")
    told = failed((unwritable,)).remedy
    assert "Nothing that this join made is left" in told

    def refuses(*command: str) -> str:
        if "disable" in command:
            raise VmError("it stays enabled", "")
        return ""

    monkeypatch.setattr(systemd, "run", refuses)
    enable = Systemctl(("enable", "web"), ("disable", "web"))
    told = failed((enable, unwritable)).remedy
    assert "could not be taken back: it stays enabled" in told
    assert "Nothing" not in told


def test_whoever_is_impatient_does_not_stop_a_join_on_its_way_back(
    monkeypatch: pytest.MonkeyPatch, signals: None
) -> None:
    done: list[str] = []

    def interrupted(*command: str) -> str:
        os.kill(os.getpid(), signal.SIGINT)
        done.append(" ".join(command))
        return ""

    monkeypatch.setattr(systemd, "run", interrupted)
    told = failed((Systemctl(("enable", "web"), ("disable", "web")),))
    assert "interrupted" in told.message
    assert "systemctl disable web" in done


@pytest.mark.parametrize("error", [BrokenPipeError("nobody reads"), KeyError("a defect")])
def test_whatever_ends_a_join_it_is_taken_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, signals: None, error: Exception
) -> None:
    def tell(_: str) -> None:
        if list(tmp_path.iterdir()):
            raise error

    expected = JoinFailedError if isinstance(error, OSError) else KeyError
    steps = (WriteFile(tmp_path / "web.yaml", "new"), Systemctl(("daemon-reload",)))
    with pytest.raises(expected, match=str(error.args[0])):
        joining.join(WEB, Plan(Ports(0), steps), joining.Teller(tell, silent), patience=0)
    assert list(tmp_path.iterdir()) == []


def test_a_proxy_that_crashed_in_the_past_is_given_up_as_soon_as_others(
    monkeypatch: pytest.MonkeyPatch, signals: None
) -> None:
    runs, restarts = ["before"], ["5", "0", "1", "2"]

    def run(*command: str) -> str:
        if "restart" in command:
            runs.append("after")
        if "--property=NRestarts" in command:
            return f"NRestarts={restarts.pop(0) if len(restarts) > 1 else restarts[0]}"
        return f"InvocationID={runs[-1]}" if "--property=InvocationID" in command else ""

    monkeypatch.setattr(systemd, "run", run)
    monkeypatch.setattr(joining, "_POLL", 0.01)
    monkeypatch.setattr(asking, "ask", lambda _: None)
    assert "does not stay up" in failed((Restart("mesh-proxy@web.service"),), 2).message
