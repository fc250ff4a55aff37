"""``mesh rollout``: how new versions take over, and what a person can do about it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Annotated, Any, Final

import msgspec
import typer

from mesh.aio.clock import SystemClock
from mesh.cli import progress, rollout_states, times
from mesh.cli.consul import consul_options
from mesh.cli.errors import NO
from mesh.cli.output import Output, OutputOption, Table, note, show, warn
from mesh.cli.rollout_states import Rollout
from mesh.clients.consul import ConsulAddress
from mesh.config.types import format_duration
from mesh.policies.rollouts.state import Observed, Phase, State
from mesh.policies.rollouts.wishes import Wish

app = typer.Typer(no_args_is_help=True)

COLUMNS: Final = ("name", "phase", "step", "weight", "for", "success", "latency", "why")

_Name = Annotated[str, typer.Argument(metavar="NAME", help="Name of the MeshRollout.")]
_UNWELL: Final = frozenset({Phase.ROLLED_BACK, Phase.ABORTED})
_CAN_READ: Final = (
    "Consul ACL rules that it takes: read for "
    'key_prefix "mesh/rollouts/" and key_prefix "mesh/policies/".'
)
_CAN_WRITE: Final = 'Consul ACL rules that it takes: write for key_prefix "mesh/rollouts/".'


@app.callback()
def group() -> None:
    """Watch and steer how new versions take over."""


@app.command(
    help="Show where rollouts stand; of one, also what happened to it.\n\n"
    "The numbers are those of the canary, at the latest judgement.  With --watch a line is "
    f"printed at each change, until every rollout shown has ended.\n\n{_CAN_READ}",
    epilog="\b\nExamples:\n"
    "  mesh rollout status\n"
    "  mesh rollout status api-v2 -o json\n"
    "  mesh rollout status api-v2 --watch --check && echo promoted",
)
@consul_options
def status(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Name of the MeshRollout.")] = "",
    *,
    consul: ConsulAddress,
    watch: Annotated[
        bool, typer.Option("--watch", "-w", help="Follow until it has ended.")
    ] = False,
    check: Annotated[
        bool, typer.Option("--check", help="Exit with 1 if one was rolled back or aborted.")
    ] = False,
    output: OutputOption = Output.TABLE,
) -> None:
    """Show where rollouts stand."""
    if watch:
        found = asyncio.run(_followed(consul, name, output))
    else:
        looked = progress.run("Asking Consul", rollout_states.look(consul))
        warn([f"{each}; all calls go as if it were not there" for each in looked.warnings])
        found = looked.named(name)
        _show(found, name, output)
    if name and not found:
        note("There is no such rollout; `mesh rollout status` lists those that there are.")
        raise typer.Exit(NO)
    if check and any(one.state is not None and one.state.phase in _UNWELL for one in found):
        raise typer.Exit(NO)


def _wishing(wish: Wish) -> Callable[..., None]:
    @consul_options
    def command(name: _Name, *, consul: ConsulAddress, output: OutputOption = Output.TABLE) -> None:
        state = progress.run("Writing to Consul", rollout_states.ask(consul, wish, name))
        line = f"rollout {name}: {state.phase}, {state.weight:g}% to {state.canary.target.name}"
        show(output, document(Rollout(name, None, state)), f"{line} ({state.reason})")

    return command


_HELP: Final = {
    Wish.PAUSE: "Stay at the present step.\n\nThe canary's calls are judged all the same: if they "
    "go badly, it is rolled back.",
    Wish.RESUME: "Go on with a paused rollout.\n\nThe step is held anew.",
    Wish.PROMOTE: "Send all calls to the canary now, whatever the gates say.",
    Wish.ABORT: "Send all calls to the stable version now.\n\nAlso of a rollout that was promoted.",
    Wish.RESTART: "Begin again at the first step.",
}

for _wish in Wish:
    app.command(
        _wish.value,
        help=f"{_HELP[_wish]}\n\n{_CAN_WRITE}",
        epilog=f"\b\nExample:\n  mesh rollout {_wish} api-v2",
    )(_wishing(_wish))


def document(rollout: Rollout) -> dict[str, Any]:
    """Return a rollout for programs."""
    spec, state = rollout.spec, rollout.state
    found: dict[str, Any] = {"name": rollout.name, "phase": state.phase.value if state else None}
    if spec is not None:
        found["steps"] = [{"weight": each.weight, "hold": each.hold} for each in spec.steps]
    if state is not None:
        found |= {
            "stable": state.stable.target.name,
            "canary": state.canary.target.name,
            "step": state.step + 1,
            "weight": state.weight,
            "since": state.since.isoformat(),
            "failures": state.breaches,
            "reason": state.reason,
            "document": state.document,
            "observed": msgspec.to_builtins(state.observed),
            "history": msgspec.to_builtins(state.history),
        }
    return found


def table(found: Sequence[Rollout], now: datetime) -> Table:
    """Return rollouts as rows."""
    return Table(COLUMNS, [_row(each, now) for each in found], "There is no rollout.")


def advice(rollout: Rollout) -> str:
    """Say what holds now, and what a person does next."""
    state, name = rollout.state, rollout.name
    if state is None:
        return "It has not begun: no zone has taken it up yet."
    stable, canary = state.stable.target, state.canary.target
    service = stable.service
    match state.phase:
        case Phase.PENDING:
            return "All calls go to the stable version until it can begin."
        case Phase.PROGRESSING:
            return f"Stop it with `mesh rollout pause {name}` or `mesh rollout abort {name}`."
        case Phase.PAUSED:
            return f"Go on with `mesh rollout resume {name}`, or end it: promote, abort."
        case Phase.PROMOTED:
            return (
                f"The calls that would end at {stable.name} go to {canary.name}, for as long as "
                f"this rollout is there.\nNext: let {canary.name} be what {service} means, in its "
                f"service-resolver; then `mesh delete rollout {name}`."
            )
        case _:
            return (
                f"All calls go to {stable.name}.\nNext: mend {canary.name} and `mesh rollout "
                f"restart {name}`, or apply another document, or `mesh delete rollout {name}`."
            )


async def _followed(consul: ConsulAddress, name: str, output: Output) -> list[Rollout]:
    printed: set[tuple[str, str]] = set()
    async for looked in rollout_states.follow(consul):
        found = looked.named(name)
        for each in found:
            line = _line(each, output)
            if (each.name, line) not in printed:
                printed = {one for one in printed if one[0] != each.name} | {(each.name, line)}
                typer.echo(line)
        if all(one.state is not None and one.state.phase.is_final for one in found):
            return found
    return []


def _line(rollout: Rollout, output: Output) -> str:
    if output is not Output.TABLE:
        return json.dumps(document(rollout), ensure_ascii=False)
    state = rollout.state
    if state is None:
        return f"{rollout.name} has not begun"
    at = (state.observed.at if state.observed else state.since).strftime("%H:%M:%S")
    numbers = _numbers(state.observed)
    measured = f" success {numbers[0]}, latency {numbers[1]};" if state.observed else ""
    step = _step(rollout)
    return (
        f"{at} {rollout.name} {state.phase} step {step}, {state.weight:g}%:{measured} "
        f"{state.reason}"
    )


def _show(found: Sequence[Rollout], name: str, output: Output) -> None:
    now = SystemClock().now()
    if not name:
        show(output, [document(each) for each in found], table(found, now))
        return
    for each in found:
        events = each.state.history if each.state else ()
        rows = [
            (_time(one.at), one.phase, one.step + 1, f"{one.weight:g}%", one.reason)
            for one in events
        ]
        history = Table(("at", "phase", "step", "weight", "why"), rows, "Nothing happened yet.")
        told = f"\n{_measured(each)}{advice(each)}\n"
        show(output, document(each), table(found, now), told, history)


def _measured(rollout: Rollout) -> str:
    seen = rollout.state.observed if rollout.state else None
    if seen is None:
        return ""
    return f"Measured at {seen.proxies} of {seen.callers} proxies that call it.\n"


def _row(rollout: Rollout, now: datetime) -> tuple[object, ...]:
    state = rollout.state
    if state is None:
        return (rollout.name, "", "", "", "", "", "", "no zone has taken it up yet")
    return (
        rollout.name,
        state.phase.value,
        _step(rollout),
        f"{state.weight:g}%",
        _held(rollout, state, now),
        *_numbers(state.observed),
        state.reason,
    )


def _time(at: datetime) -> str:
    return f"{at:%Y-%m-%d %H:%M:%S} UTC"


def _step(rollout: Rollout) -> str:
    number = rollout.state.step + 1 if rollout.state else 0
    return f"{number}/{len(rollout.spec.steps)}" if rollout.spec else str(number)


def _held(rollout: Rollout, state: State, now: datetime) -> str:
    lasted = times.age(now - state.since)
    if rollout.spec is None or not state.phase.is_judged or state.step >= len(rollout.spec.steps):
        return lasted
    return f"{lasted} of {format_duration(timedelta(seconds=rollout.spec.steps[state.step].hold))}"


def _numbers(observed: Observed | None) -> tuple[str, str]:
    if observed is None:
        return "", ""
    rate, latency = observed.success_rate, observed.latency
    return (
        "" if rate is None else f"{rate:g}% of {observed.requests}",
        "" if latency is None else f"{latency:g}ms",
    )
