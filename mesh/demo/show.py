"""The demo on a terminal: acts narrated as they play, a table at the end, an exit code."""

from __future__ import annotations

import asyncio
import shutil
import signal
import sys
import tempfile
import time
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from rich.console import Console
from rich.table import Table

from mesh.demo.estate import Estate
from mesh.demo.processes import ProcessError
from mesh.demo.second import SECOND, SecondZone
from mesh.demo.story import Act, ActFailedError, NotOfferedError, Story

_HELD: Final = "[green]√[/]"
_FAILED: Final = "[red]×[/]"
_ABSENT: Final = "[yellow]–[/]"


@dataclass(frozen=True, slots=True)
class Scene:
    """Where the demo plays: the URL of a real Consul, or none; the token file it wants."""

    consul: str
    consul_token: Path | None
    keep: bool


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of an act."""

    title: str
    mark: str
    said: str
    seconds: float


async def perform(scene: Scene, console: Console) -> int:
    """Play every act; return 0 if all held, else 1."""
    # The shortest path there is: a Unix socket's name has at most 108 bytes.
    directory = Path(tempfile.mkdtemp(prefix="mesh-demo-"))
    try:
        async with (
            Estate(directory, consul=scene.consul, consul_token=scene.consul_token) as estate,
            Estate(directory / SECOND) as other,
            AsyncExitStack() as stack,
        ):
            outcomes = await _play((estate, other), scene, stack, console)
            _table(outcomes, console)
            failed = any(outcome.mark == _FAILED for outcome in outcomes)
            if failed:
                console.print(f"Logs: {directory / 'logs'}", highlight=False)
            if scene.keep and not failed:
                await _stay(estate, console)
    except BaseException:
        console.print(f"Logs: {directory / 'logs'}", highlight=False)
        raise
    if not failed:
        shutil.rmtree(directory)
    return int(failed)


async def _play(
    estates: tuple[Estate, Estate], scene: Scene, stack: AsyncExitStack, console: Console
) -> list[Outcome]:
    """Play the acts, in the first of ``estates`` and then in both; ``stack`` ends what they began.

    Beside a Consul that is given there is no second one.
    """
    estate = estates[0]
    second = None if scene.consul else SecondZone(*estates)
    if second is not None:
        await second.prepare(shutil.which("consul"))
    outcomes = [
        await _act(Act("A certificate authority: OpenBao", lambda: _vault(estate)), console),
        await _act(Act("The control plane of one zone", lambda: _zone(estate)), console),
    ]
    if any(outcome.mark == _FAILED for outcome in outcomes):
        return outcomes
    story = Story(estate, second)
    stack.push_async_callback(story.close)
    for act in story.acts():
        outcomes.append(await _act(act, console))
        if outcomes[-1].mark == _FAILED:
            break
    return outcomes


async def _act(act: Act, console: Console) -> Outcome:
    began = time.monotonic()
    with console.status(f"{act.title} …"):
        try:
            mark, said = _HELD, await act.play()
        except NotOfferedError as error:
            mark, said = _ABSENT, str(error)
        except (ActFailedError, ProcessError) as error:
            mark, said = _FAILED, str(error)
    outcome = Outcome(act.title, mark, said, time.monotonic() - began)
    console.print(f"{mark} [bold]{act.title}[/]")
    console.print(f"  {said}", highlight=False, markup=False, soft_wrap=True)
    return outcome


async def _vault(estate: Estate) -> str:
    await estate.start_vault()
    return "a real server; `mesh vault setup` made its PKI and a least-privilege login"


async def _zone(estate: Estate) -> str:
    await estate.start_zone()
    registry = f"Consul at {estate.consul}" if estate.consul else "the embedded registry"
    return f"over {registry}; it holds a short-lived intermediate that OpenBao signed"


def _table(outcomes: list[Outcome], console: Console) -> None:
    table = Table(title="What was shown", title_justify="left", show_lines=False)
    table.add_column("")
    table.add_column("Act")
    table.add_column("Seconds", justify="right")
    for outcome in outcomes:
        table.add_row(outcome.mark, outcome.title, f"{outcome.seconds:.1f}")
    console.print()
    console.print(table)


async def _stay(estate: Estate, console: Console) -> None:
    """Leave the mesh up until somebody interrupts, which ends it in good order."""
    interrupted = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, interrupted.set)
    console.print("\nThe mesh stays up until Ctrl-C. In another terminal:\n")
    binaries = Path(sys.executable).parent
    console.print(f"  export PATH={binaries}:$PATH", highlight=False, soft_wrap=True)
    for name, value in estate.environment().items():
        console.print(f"  export {name}={value}", highlight=False, soft_wrap=True)
    web = estate.services["web"]
    for line in (
        f"curl -i http://127.0.0.1:{web.app_port}/orders/1",
        "mesh explain web api",
        "mesh intention allow web api",
        "mesh proxies",
        "mesh config routes --proxy web/web-1",
        "mesh check",
    ):
        console.print(f"  {line}", highlight=False, soft_wrap=True)
    await interrupted.wait()
    console.print("\nEnding …")
