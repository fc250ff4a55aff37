"""``mesh capture``: send connections of applications on this host through its proxies."""

from __future__ import annotations

import difflib
import select
import sys
import termios
from pathlib import Path
from typing import Annotated, Final

import typer

from mesh.capture import applying, looking, surroundings
from mesh.capture.applying import WITHIN, Difference
from mesh.capture.control import control
from mesh.capture.nft import Nft
from mesh.capture.plan import Plan, plan
from mesh.capture.sockets import sockets
from mesh.cli.arguments import refused
from mesh.cli.checks import report
from mesh.cli.checks.model import Checked, Finding, failure, ok, warning
from mesh.cli.errors import NO
from mesh.cli.output import Output, OutputOption, Table, note, show, warn
from mesh.config.capture import CaptureSettings, load_capture
from mesh.config.types import HostPort

DEFAULT: Final = Path("/etc/mesh/capture.yaml")

app = typer.Typer(no_args_is_help=True)

ConfigOption = Annotated[
    Path, typer.Option("--config", "-c", metavar="FILE", help="The host's capture settings.")
]


@app.callback()
def group() -> None:
    """Send connections of this host's applications through its proxies."""


@app.command(
    epilog="\b\nExamples:\n"
    "  mesh capture apply --dry-run\n"
    "  mesh capture apply --guard 10.0.0.5:443"
)
def apply(
    *,
    config: ConfigOption = DEFAULT,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print the table and what it changes, and stop.")
    ] = False,
    guard: Annotated[
        list[str] | None,
        typer.Option(
            metavar="ADDRESS:PORT", help="Must still be reachable from here; may be repeated."
        ),
    ] = None,
    yes: Annotated[
        bool, typer.Option("--yes", help="Ask nothing at a terminal; prove instead.")
    ] = False,
    no_rollback: Annotated[
        bool, typer.Option("--no-rollback", help="Load the table without a guard, as at boot.")
    ] = False,
    ssh_connection: Annotated[str, typer.Option(envvar="SSH_CONNECTION", hidden=True)] = "",
    output: OutputOption = Output.TABLE,
) -> None:
    """Load the table of rules that the settings ask for, in one transaction.

    The earlier one comes back by itself unless, within 30 seconds, somebody at the terminal
    presses Enter; or, where nobody sits there, unless the SSH session that this runs in and new
    connections to SSH and to each --guard work.  It comes back, too, if this command is killed.
    """
    settings, wanted, missing = _planned(config)
    for cgroup in missing:
        note(f"warning: {_missing(cgroup)}")
    nft = Nft()
    with applying.alone():
        found = applying.difference(nft, wanted)
        if dry_run:
            diff = _diff(found)
            document = {"changes": found.changes, "table": found.planned, "diff": diff}
            show(output, document, found.planned, *diff)
            return
        _warn_of_deaf(wanted)
        if found.changes and no_rollback:
            applying.load(nft, wanted)
        elif found.changes:
            guards = [_place(each) for each in guard or []]
            session = control(surroundings.ssh_connection(ssh_connection), guards)
            confirm = None if yes or not sys.stdin.isatty() else _confirmed
            applying.apply(nft, wanted, session, confirm=confirm)
    said = "applied" if found.changes else "nothing to change"
    show(output, {"changed": found.changes, "proxies": len(settings.proxies)}, f"capture: {said}")


@app.command("show", epilog="\b\nExample:\n  mesh capture show -o json")
def show_loaded(*, output: OutputOption = Output.TABLE) -> None:
    """Show what is captured now, and how often that happened."""
    found = looking.loaded(Nft().objects())
    document = [
        {"chain": each.chain, "what": each.what, "port": each.port, "packets": each.packets}
        for each in found
    ]
    rows = [(each.chain, each.what, each.port, str(each.packets)) for each in found]
    show(output, document, Table(("chain", "what", "to port", "times"), rows, "Nothing is loaded."))


@app.command(epilog="\b\nExample:\n  mesh capture check -o json")
def check(*, config: ConfigOption = DEFAULT, output: OutputOption = Output.TABLE) -> None:
    """Check that what is planned is loaded, that proxies listen, and that names resolve.

    √ is well, ‼ deserves a look, × keeps capture from its work: then the exit code is 1.
    """
    settings, wanted, missing = _planned(config)
    with applying.alone():
        found = applying.difference(Nft(), wanted)
    findings = [("table", _table(found, config))]
    findings += [("cgroups", warning(_missing(each), _CGROUP_REMEDY)) for each in missing]
    findings += _listening(wanted)
    findings += _routes(wanted)
    if wanted.names is not None and settings.proxies and not found.changes:
        reason = looking.unresolved(wanted, wanted.names, settings.proxies[0].service)
        remedy = _names_remedy(wanted.names.port)
        findings.append(("names", failure(reason, remedy) if reason else ok("names resolve")))
    checked = [Checked("capture", findings)]
    show(output, report.document(checked), *report.lines(checked, short=False))
    if checked[0].failed:
        raise typer.Exit(NO)


@app.command(epilog="\b\nExample:\n  mesh capture remove")
def remove(*, output: OutputOption = Output.TABLE) -> None:
    """Remove the table: nothing is captured any more, and nothing is left of it.

    Connections that were captured end with the proxy's; new ones go where they are meant to.
    """
    with applying.alone():
        was_there = applying.remove(Nft())
    said = "removed" if was_there else "nothing is loaded"
    show(output, {"changed": was_there}, f"capture: {said}")


_CGROUP_REMEDY: Final = (
    "a service's cgroup is made anew at each start: give its unit\n"
    "ExecStartPre=+/usr/local/bin/mesh capture apply --no-rollback"
)


def _planned(config: Path) -> tuple[CaptureSettings, Plan, list[str]]:
    settings = load_capture(config)
    wanted, missing = surroundings.with_cgroups_there(plan(settings, surroundings.uid))
    return settings, wanted, missing


def _missing(cgroup: str) -> str:
    return f"there is no cgroup {cgroup}: connections of what will run in it are not captured"


def _diff(found: Difference) -> list[str]:
    lines = (found.loaded.splitlines(), found.planned.splitlines())
    return list(difflib.unified_diff(*lines, "loaded", "planned", lineterm=""))


def _table(found: Difference, config: Path) -> Finding:
    if not found.changes:
        return ok("what is loaded is what is planned")
    what = "another table is loaded than planned" if found.loaded else "no table is loaded"
    return failure(what, f"run: mesh capture apply --config {config}")


def _names_remedy(port: int) -> str:
    return (
        f"see that one proxy of this host has `dns: 127.0.0.1:{port}`, and is ready;\n"
        "DNS over TLS and DNSSEC=yes of systemd-resolved keep it from names of the mesh"
    )


def _listening(wanted: Plan) -> list[tuple[str, Finding]]:
    findings = []
    for each in looking.deaf(wanted, sockets()):
        where = f"{each.protocol} port {each.port} ({each.service})"
        if each.entirely:
            remedy = f"see what became of its proxy: systemctl status mesh-proxy@{each.service}"
            if each.protocol == "udp":
                remedy = _names_remedy(each.port)
            findings.append((where, failure(f"nobody listens on {where}", remedy)))
        else:
            text = f"nobody listens on {where} for IPv6: what is captured of it is refused"
            findings.append((where, warning(text, "let the proxy listen on [::] or [::1] too")))
    return findings or [("listening", ok("every port that is redirected to has a listener"))]


def _routes(wanted: Plan) -> list[tuple[str, Finding]]:
    missing = list(looking.unroutable(wanted))
    findings = []
    for block in missing:
        text = f"this host has no route to {block}: calls to services by name fail"
        # Without IPv6, programs use IPv4; not the other way round.
        judged = warning if ":" in block else failure
        findings.append(
            ("routes", judged(text, f"ip route add {block} dev INTERFACE, or a default"))
        )
    return findings


def _warn_of_deaf(wanted: Plan) -> None:
    entirely = [each for each in looking.deaf(wanted, sockets()) if each.entirely]
    warn(
        [
            f"nobody listens on {each.protocol} port {each.port} ({each.service}): "
            "what is captured is refused until its proxy runs"
            for each in entirely
        ]
    )


def _place(text: str) -> HostPort:
    try:
        return HostPort.parse(text)
    except ValueError as error:
        raise refused("the option --guard", str(error)) from error


def _confirmed(seconds: float) -> bool:
    # What was typed before the table was there says nothing about it.
    termios.tcflush(sys.stdin, termios.TCIFLUSH)
    note(
        "The table is loaded.  Try whether you can still log in from elsewhere, and press Enter "
        f"within {min(seconds, WITHIN):.0f} seconds to keep it."
    )
    ready, _, _ = select.select([sys.stdin], [], [], seconds)
    return bool(ready) and sys.stdin.readline() == "\n"
