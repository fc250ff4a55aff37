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

from mesh.agent.state import StateDir
from mesh.config.proxy import load_proxy

SETTINGS_FILE: Final = "agent.json"

app = typer.Typer()

_Text = str | None
_File = Path | None
_PROOF: Final = "Enrolment"
_PLACES: Final = "Where it listens"
_REGISTRY: Final = "Registration"


@app.command()
def proxy(
    *,
    config: Annotated[
        _File, typer.Option("--config", "-c", help="Settings file, TOML or YAML.")
    ] = None,
    service: Annotated[_Text, typer.Option(help="The service that this proxy is for.")] = None,
    id: Annotated[_Text, typer.Option(help="The instance; default <service>-<hostname>.")] = None,  # noqa: A002 - the option's name
    state_dir: Annotated[_File, typer.Option(help="Where the proxy keeps its state.")] = None,
    zone_api: Annotated[
        list[str] | None,
        typer.Option(help="host:port of the zone's API; repeatable.", rich_help_panel=_PROOF),
    ] = None,
    join_token_file: Annotated[
        _File, typer.Option(help="File with a join token.", rich_help_panel=_PROOF)
    ] = None,
    consul_token_file: Annotated[
        _File,
        typer.Option(help="File with a Consul token, instead.", rich_help_panel=_PROOF),
    ] = None,
    bundle_file: Annotated[
        _File, typer.Option(help="The mesh's trust bundle.", rich_help_panel=_PROOF)
    ] = None,
    application: Annotated[
        _Text,
        typer.Option("--app", help="address:port of the application.", rich_help_panel=_PLACES),
    ] = None,
    upstream: Annotated[
        list[str] | None,
        typer.Option(
            help="service:port or service:address:port; repeatable.", rich_help_panel=_PLACES
        ),
    ] = None,
    inbound_address: Annotated[
        _Text, typer.Option(help="Address for callers.", rich_help_panel=_PLACES)
    ] = None,
    inbound_port: Annotated[
        int | None, typer.Option(help="Port for callers.", rich_help_panel=_PLACES)
    ] = None,
    advertise_address: Annotated[
        _Text, typer.Option(help="Address that callers dial.", rich_help_panel=_PLACES)
    ] = None,
    listen: Annotated[
        _Text, typer.Option(help="Readiness and metrics.", rich_help_panel=_PLACES)
    ] = None,
    register: Annotated[
        _Text, typer.Option(help="consul, zone or none.", rich_help_panel=_REGISTRY)
    ] = None,
    consul_url: Annotated[
        _Text, typer.Option(help="The local Consul agent.", rich_help_panel=_REGISTRY)
    ] = None,
    app_metrics_url: Annotated[_Text, typer.Option(help="Metrics to pass on.")] = None,
    drain: Annotated[_Text, typer.Option(help="How long a stop may wait, as in 30s.")] = None,
    envoy: Annotated[_File, typer.Option(help="Another Envoy than the bundled one.")] = None,
    concurrency: Annotated[int | None, typer.Option(help="Envoy's worker threads.")] = None,
    log_level: Annotated[_Text, typer.Option(help="debug, info, warning or error.")] = None,
    check_config: Annotated[
        bool, typer.Option("--check-config", help="Check the settings and stop.")
    ] = False,
) -> None:
    """Run a service's proxy.

    Enrols, registers the instance, and looks after its Envoy until SIGTERM, which drains it.
    SIGHUP renews the certificate at once, without touching Envoy.
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
    _become_agent(config, given, only_check=check_config)


def _become_agent(config: Path | None, given: dict[str, Any], *, only_check: bool) -> None:
    overrides = {name: value for name, value in given.items() if value is not None}
    settings = load_proxy(config, overrides).for_agent()
    if only_check:
        typer.echo("the settings are valid")
        return
    state = StateDir(Path(settings["state_dir"]))
    state.write(SETTINGS_FILE, json.dumps(settings, indent=1))
    state.close()
    file = str(Path(settings["state_dir"]) / SETTINGS_FILE)
    sys.stdout.flush()
    # The arguments are our own interpreter, our own module and a file name.
    os.execv(sys.executable, [sys.executable, "-m", "mesh.agent", "--settings", file])  # noqa: S606 - no shell is wanted


def _text(path: Path | None) -> str | None:
    return str(path) if path else None
