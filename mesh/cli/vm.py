"""``mesh vm``: this host into the mesh, how it is there, and out of it."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from mesh.cli import progress, vm_request
from mesh.cli.consul import consul_options
from mesh.cli.errors import NO
from mesh.cli.output import Output, OutputOption, Table, note, show
from mesh.cli.vm_advice import next_steps
from mesh.cli.vm_protocol import Protocol
from mesh.clients.consul import ConsulAddress, ConsulError
from mesh.config.loading import read_file
from mesh.vm import departure, host, joining, leaving, looking, report, systemd
from mesh.vm.errors import VmError
from mesh.vm.layout import Layout
from mesh.vm.plan import plan

app = typer.Typer(no_args_is_help=True)

_PATIENCE: Final = 60.0

DryRunOption = Annotated[
    bool, typer.Option("--dry-run", help="Say every file, unit and command, and touch nothing.")
]


@app.callback()
def group() -> None:
    """Mesh the services of this host: join, status, leave."""


@app.command(
    epilog="\b\nExamples:\n"
    "  mesh token create --service web --out web.token         # where the zone is administered\n"
    "  sudo mesh vm join --service web --port 8080 --zone-api zone.corp:5678 \\\n"
    "    --token-file web.token --upstream api:9001\n"
    "  ssh zone mesh token create --service web -o json | jq -r .token |\n"
    "    sudo mesh vm join --service web --port 8080 --zone-api zone.corp:5678 --token-file -\n"
    "  sudo mesh vm join --service web --port 8080 --zone-api zone.corp:5678 \\\n"
    "    --token-file web.token --protocol http --health http:/healthz@5s \\\n"
    "    --capture user:web --capture-inbound\n"
    "  mesh vm join --service web --port 8080 --zone-api zone.corp:5678 --dry-run \\\n"
    "    --token-file web.token                                # every file, unit and command\n\n"
    "What it makes: the user mesh; /etc/mesh/proxy-<service>.yaml and .token (root's only); the "
    "units mesh-proxy@.service and mesh.target; /var/lib/mesh/<service>. Several services of a "
    "host are joined one after another; each has ports of its own, 10 apart: callers at 15006, "
    "readiness at 15020, capture at 15001.\n\n"
    "Run again with other settings, it changes them; with the same, nothing. A host that comes "
    "back after a month, or under another name or address, needs nothing. A copy of this machine "
    "is refused its identity until it joins anew with a token of its own."
)
@consul_options
def join(
    *,
    service: Annotated[str, typer.Option(metavar="NAME", help="The service.")],
    zone_api: Annotated[
        list[str],
        typer.Option(metavar="HOST:PORT", help="The zone's API, as in zone.corp:5678; repeatable."),
    ],
    consul: ConsulAddress,
    port: Annotated[
        int | None,
        typer.Option(metavar="PORT", help="Where the application listens on 127.0.0.1."),
    ] = None,
    application: Annotated[
        str, typer.Option("--app", metavar="ADDRESS:PORT", help="Or: its address and port.")
    ] = "",
    token_file: Annotated[
        str,
        typer.Option(
            metavar="FILE",
            help="File with a join token for the service; - reads it from standard input. A "
            "service that has joined needs none.",
        ),
    ] = "",
    upstream: Annotated[
        list[str] | None,
        typer.Option(
            metavar="SERVICE[.ZONE]:[ADDRESS:]PORT",
            help="A service to call, and where the application dials it on this host; repeatable.",
        ),
    ] = None,
    protocol: Annotated[
        str,
        typer.Option(
            metavar="NAME",
            help="What the application speaks: tcp, http, http2 or grpc. Written to Consul as the "
            "service's service-defaults if it has none.",
        ),
    ] = "",
    health_check: Annotated[
        str,
        typer.Option(
            "--health",
            metavar="CHECK",
            help="How the application's health is told: tcp (default), none, http or "
            "http:/path, with @interval if wanted, as in http:/healthz@5s.",
        ),
    ] = "",
    capture: Annotated[
        list[str] | None,
        typer.Option(
            metavar="WHOSE",
            help="Capture connections to the mesh, so that programs dial http://api.mesh: those "
            "of user:NAME, of cgroup:PATH, or of everybody; repeatable.",
        ),
    ] = None,
    capture_to: Annotated[
        str,
        typer.Option(metavar="WHAT", help="mesh: connections to the mesh only; all: every one."),
    ] = "mesh",
    capture_inbound: Annotated[
        bool,
        typer.Option(
            "--capture-inbound",
            help="Also let nobody reach the application's port past the proxy.",
        ),
    ] = False,
    register: Annotated[
        str,
        typer.Option(
            metavar="WHERE",
            help="Register with consul (the agent of this host), zone or none; auto: consul if one "
            "answers on --consul, else zone.",
        ),
    ] = "auto",
    settings: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Further settings of `mesh proxy`, in YAML or TOML."),
    ] = None,
    timeout: Annotated[
        float, typer.Option(metavar="SECONDS", help="How long the proxy may take to be ready.")
    ] = _PATIENCE,
    dry_run: DryRunOption = False,
    output: OutputOption = Output.TABLE,
) -> None:
    """Bring a service of this host into the mesh, with one join token.

    Makes what is missing, starts the proxy, and returns when it is ready and registered.  All or
    nothing: what fails leaves nothing behind, and says which line of the journal explains it.
    """
    _require_host("join", dry_run=dry_run)
    layout = Layout()
    token = vm_request.token(token_file)
    found = host.facts(layout, vm_request.service(service))
    kept = found.settings.get(service, {}).get("registration")
    wanted = vm_request.request(
        service=service,
        app=vm_request.app(port, application),
        zone_api=zone_api,
        upstreams=upstream or [],
        check=health_check,
        capture=vm_request.capture(capture or [], capture_to, inbound=capture_inbound),
        registration=vm_request.registration(register, kept, consul),
        trust_domain=vm_request.trust_domain(token, layout.state(service)),
        more={
            **vm_request.consul_section(consul, service, layout),
            **(dict(read_file(settings)) if settings else {}),
        },
    )
    made = plan(wanted, found, layout, token=token)
    speaks = Protocol(consul, service, protocol)
    steps = [*speaks.steps(), *(str(each) for each in (*made.steps, *made.later))]
    if dry_run:
        document = {"service": service, "changed": False, "steps": steps}
        show(output, document, *(steps or [_nothing(service)]))
        return
    teller = joining.Teller(note, lambda reason: note(f"waiting  {reason}"))
    speaks.write()
    try:
        with progress.waiting(f"Waiting for the proxy of {service}"):
            page = joining.join(wanted, made, teller, patience=timeout)
    except VmError:
        try:
            speaks.take_back()
        except ConsulError as error:
            note(f"note: the service-defaults of {service} stay: {error}")
        raise
    if token and found.enrolled and not found.foreign:
        note(f"note: {service} has joined with another token before, or this one; it was not used")
    document = {"service": service, "changed": bool(steps), "steps": steps, "proxy": dict(page)}
    sentence = f"{service} is in the mesh as {page['id']}." if steps else _nothing(service)
    show(output, document, sentence, *next_steps(wanted, made.ports))


@app.command(
    epilog="\b\nExamples:\n"
    "  sudo mesh vm status\n"
    "  mesh vm status                     # without root: what everybody on the host may see\n"
    "  mesh vm status -o json | jq '.services[] | select(.well | not)'\n\n"
    "Exit code 1: a service is not well; what is the matter with it stands below the table."
)
def status(
    *,
    service: Annotated[str, typer.Option(metavar="NAME", help="One service only.")] = "",
    output: OutputOption = Output.TABLE,
) -> None:
    """Show the services of this host, and whether all is well with them."""
    _require_systemd()
    seen, unseen = looking.look(Layout())
    if service:
        seen = tuple(each for each in seen if each.service == vm_request.service(service))
        if not seen:
            raise VmError(
                f"no service {service} of this host is in the mesh",
                "`mesh vm status` lists those that are; `mesh vm join --help` tells how to join.",
            )
    now = datetime.now(UTC)  # noqa: TID251 - the person's own clock, for what is left of a time
    problems = [f"{each.service}: {text}" for each in seen for text in report.complaints(each, now)]
    versions = host.versions()
    document = {
        "well": not problems,
        "services": [report.document(each, now) for each in seen],
        "versions": versions,
        "not_seen": unseen or None,
    }
    empty = "No service of this host is in the mesh; see `mesh vm join --help`."
    table = Table(report.COLUMNS, [report.row(each, now) for each in seen], empty)
    told = ", ".join(f"{name} {value}" for name, value in versions.items())
    show(output, document, table, *(f"× {each}" for each in problems), f"installed: {told}")
    if unseen:
        note(f"note: {unseen}")
    if problems:
        raise typer.Exit(NO)


@app.command(
    epilog="\b\nExamples:\n"
    "  sudo mesh vm leave --service web\n"
    "  sudo mesh vm leave --dry-run       # what would go\n"
    "  sudo mesh vm leave                 # every service, and what they had in common\n\n"
    "What other parts of the mesh on this host need stays (zone, gateways, the program itself), "
    "and so does the service's service-defaults in Consul, which is its other instances' too."
)
def leave(
    *,
    service: Annotated[
        str, typer.Option(metavar="NAME", help="One service; without, all of this host.")
    ] = "",
    dry_run: DryRunOption = False,
    output: OutputOption = Output.TABLE,
) -> None:
    """Take services of this host out of the mesh, and leave nothing behind.

    Capture ends first, then the proxy drains, deregisters and stops; then units, settings, token
    and state go, and with the last service the user.
    """
    _require_host("leave", dry_run=dry_run)
    layout = Layout()
    if service:
        vm_request.service(service)
    steps = departure.plan(service, leaving.look(layout), layout)
    document: dict[str, Any] = {"steps": [str(each) for each in steps], "notes": []}
    if dry_run:
        show(output, document, *(document["steps"] or [_absent(service)]))
        return
    with progress.waiting("Draining"):
        document["notes"] = list(leaving.carry_out(steps, note))
    for each in document["notes"]:
        note(f"note: {each}")
    done = f"{service or 'This host'} is out of the mesh." if steps else _absent(service)
    show(output, document, done)


def _require_systemd() -> None:
    if not systemd.is_here():
        raise VmError(
            "systemd does not run this host",
            "Run the proxy under whatever does: `mesh proxy --help`.",
        )


def _require_host(what: str, *, dry_run: bool) -> None:
    _require_systemd()
    if not dry_run and os.geteuid() != 0:
        raise VmError(
            f"`mesh vm {what}` needs root: it handles the user mesh, files in /etc/mesh, and units",
            f"Run `sudo mesh vm {what} …`; with --dry-run it only says what it would do.",
        )


def _nothing(service: str) -> str:
    return f"{service} is in the mesh with these settings already: nothing was changed."


def _absent(service: str) -> str:
    return f"{service or 'Nothing of this host'} is not in the mesh: nothing was changed."
