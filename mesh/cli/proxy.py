"""``mesh proxy``: check the settings, then become the agent.

The settings are parsed here with everything that makes good messages, written to the state
directory, and the process replaces itself by ``python -m mesh.agent``: what parsed them is not in
memory for the months that follow.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from mesh.agent.errors import StateError
from mesh.agent.state import StateDir
from mesh.cli.version import DISTRIBUTION, distribution
from mesh.config.proxy import load_proxy

SETTINGS_FILE: Final = "agent.json"

app = typer.Typer()

_Text = str | None
_File = Path | None


@app.command(
    epilog="\b\nExamples:\n"
    "  mesh proxy --config /etc/mesh/web.toml\n"
    "  mesh proxy --service web --app 127.0.0.1:8080 --upstream api:9001 \\\n"
    "    --zone-api zone.example:5678 --join-token-file web.token --state-dir /var/lib/mesh/web"
)
def proxy(
    *,
    config: Annotated[
        _File,
        typer.Option("--config", "-c", metavar="FILE", help="Settings file, TOML or YAML."),
    ] = None,
    service: Annotated[
        _Text, typer.Option(metavar="NAME", help="The service that this proxy is for.")
    ] = None,
    id: Annotated[  # noqa: A002 - the option's name
        _Text,
        typer.Option(
            metavar="ID",
            help="The instance; default: named after service and host, and kept from then on.",
        ),
    ] = None,
    state_dir: Annotated[
        _File, typer.Option(metavar="DIR", help="Where the proxy keeps its state.")
    ] = None,
    zone_api: Annotated[
        list[str] | None,
        typer.Option(metavar="HOST:PORT", help="The zone's API; repeatable."),
    ] = None,
    join_token_file: Annotated[
        _File, typer.Option(metavar="FILE", help="File with a join token, to enrol with.")
    ] = None,
    consul_token_file: Annotated[
        _File, typer.Option(metavar="FILE", help="Or: file with a Consul ACL token.")
    ] = None,
    bundle_file: Annotated[
        _File,
        typer.Option(metavar="FILE", help="The mesh's trust bundle; a join token needs none."),
    ] = None,
    application: Annotated[
        _Text, typer.Option("--app", metavar="ADDRESS:PORT", help="The application.")
    ] = None,
    upstream: Annotated[
        list[str] | None,
        typer.Option(
            metavar="SERVICE[.ZONE]:[ADDRESS:]PORT",
            help="A service to call (of one zone only, if named), and where the application "
            "dials it; repeatable.",
        ),
    ] = None,
    capture: Annotated[
        _Text,
        typer.Option(
            metavar="ADDRESS:PORT",
            help="Where the application's other connections are redirected to; none by default.",
        ),
    ] = None,
    dns: Annotated[
        _Text,
        typer.Option(
            metavar="ADDRESS:PORT",
            help="Where the application's questions for names of the mesh are redirected to; "
            "none by default.",
        ),
    ] = None,
    inbound_address: Annotated[
        _Text, typer.Option(metavar="ADDRESS", help="Address where callers are served.")
    ] = None,
    inbound_port: Annotated[
        int | None,
        typer.Option(metavar="PORT", help="Port where callers are served; default 15006."),
    ] = None,
    advertise_address: Annotated[
        _Text, typer.Option(metavar="ADDRESS", help="Address that callers dial.")
    ] = None,
    listen: Annotated[
        _Text,
        typer.Option(
            metavar="ADDRESS:PORT", help="Readiness and metrics; default 127.0.0.1:15020."
        ),
    ] = None,
    register: Annotated[
        _Text, typer.Option(metavar="WHERE", help="Register with consul (default), zone or none.")
    ] = None,
    consul_url: Annotated[
        _Text, typer.Option(metavar="URL", help="The Consul agent of this host.")
    ] = None,
    app_metrics_url: Annotated[
        _Text,
        typer.Option(metavar="URL", help="The application's metrics, to be shown with ours."),
    ] = None,
    drain: Annotated[
        _Text, typer.Option(metavar="TIME", help="How long a stop may wait, as in 30s.")
    ] = None,
    envoy: Annotated[
        _File, typer.Option(metavar="FILE", help="Another Envoy than the bundled one.")
    ] = None,
    concurrency: Annotated[
        int | None, typer.Option(metavar="N", help="Envoy's worker threads.")
    ] = None,
    log_level: Annotated[
        _Text, typer.Option(metavar="LEVEL", help="debug, info, warning or error.")
    ] = None,
    check_config: Annotated[
        bool, typer.Option("--check-config", help="Check the settings, and stop.")
    ] = False,
) -> None:
    """Run a service's proxy.

    Enrols, registers the instance, and looks after its Envoy until SIGTERM, which drains it.
    SIGHUP renews the certificate at once, without touching Envoy.

    Every setting may also be given as a variable: MESH_PROXY_SERVICE=web.
    """
    given = {
        "service": service,
        "id": id,
        "state_dir": _text(state_dir),
        "zone_api": zone_api or None,
        "join_token_file": _text(join_token_file),
        "consul_token_file": _text(consul_token_file),
        "bundle_file": _text(bundle_file),
        "app": application,
        "capture": capture,
        "dns": dns,
        "upstreams": upstream or None,
        "inbound_address": inbound_address,
        "inbound_port": inbound_port,
        "advertise_address": advertise_address,
        "listen": listen,
        "registration": register,
        "consul": {"url": consul_url} if consul_url else None,
        "app_metrics_url": app_metrics_url,
        "drain": drain,
        "envoy": _text(envoy),
        "concurrency": concurrency,
        "log_level": log_level,
    }
    become_agent(config, given, only_check=check_config)


def become_agent(config: Path | None, given: dict[str, Any], *, only_check: bool) -> None:
    """Check the settings and go on as the agent; ``given`` is what the command line says."""
    overrides = {name: value for name, value in given.items() if value is not None}
    settings = {**load_proxy(config, overrides).for_agent(), "version": distribution(DISTRIBUTION)}
    if only_check:
        typer.echo("the configuration is valid")
        return
    state = StateDir(Path(settings["state_dir"]))
    try:
        _keep(state, json.dumps(settings, indent=1).encode())
    finally:
        state.close()
    file = str(Path(settings["state_dir"]) / SETTINGS_FILE)
    sys.stdout.flush()
    # The arguments are our own interpreter, our own module and a file name.
    os.execv(sys.executable, [sys.executable, "-m", "mesh.agent", "--settings", file])  # noqa: S606 - no shell is wanted


def _keep(state: StateDir, settings: bytes) -> None:
    try:
        # Unchanged, they need no place: a full disk must not keep the next agent from its Envoy.
        if state.read(SETTINGS_FILE) != settings:
            state.write(SETTINGS_FILE, settings)
    except OSError as error:
        raise StateError(
            f"{state.path / SETTINGS_FILE} cannot be written: {error.strerror}",
            "Is the disk full, or mounted read-only? See `df` and `mount`.",
        ) from error


def _text(path: Path | None) -> str | None:
    return str(path) if path else None
