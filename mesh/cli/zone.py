"""``mesh zone``: check the settings, then run the control plane; or look after its peers."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from mesh.cli import zone_forget, zone_peer
from mesh.cli.output import Output, OutputOption, Table, show
from mesh.config import zone as config

app = typer.Typer()
zone_forget.command(app)
app.add_typer(zone_peer.app, name="peer")


@app.callback(
    invoke_without_command=True,
    epilog="\b\nExamples:\n"
    "  mesh zone --config /etc/mesh/zone.toml\n"
    "  mesh zone --config zone.yaml --check-config\n"
    "  mesh zone --embedded",
)
def zone(
    context: typer.Context,
    *,
    config_file: Annotated[
        Path | None,
        typer.Option("--config", "-c", metavar="FILE", help="Settings file, TOML or YAML."),
    ] = None,
    embedded: Annotated[
        bool, typer.Option("--embedded", help="Run a registry in this process; no Consul needed.")
    ] = False,
    check_config: Annotated[
        bool, typer.Option("--check-config", help="Print the settings in effect, and stop.")
    ] = False,
    output: OutputOption = Output.YAML,
) -> None:
    """Run the control plane of a zone.

    Every setting may also be given as a variable: MESH_ZONE__LISTEN__API=0.0.0.0:5678.
    """
    if context.invoked_subcommand is not None:
        return
    overrides: dict[str, Any] = {"embedded": {}} if embedded else {}
    settings = config.load(config_file, overrides)
    if check_config:
        document = settings.model_dump(mode="json")
        show(output, document, Table(("setting", "value"), _rows(document)))
        return
    from mesh.controlplane.zone import run  # noqa: PLC0415 - checking settings needs none of it

    run(settings)


def _rows(document: dict[str, Any], path: str = "") -> list[tuple[str, object]]:
    rows: list[tuple[str, object]] = []
    for name, value in document.items():
        here = f"{path}.{name}" if path else name
        if isinstance(value, dict):
            rows += _rows(value, here)
        else:
            rows.append((here, ", ".join(value) if isinstance(value, list) else value))
    return rows
