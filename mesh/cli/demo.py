"""``mesh demo``: a whole mesh on this host, narrated."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer()


@app.command(epilog="\b\nExamples:\n  mesh demo\n  mesh demo --keep")
def demo(
    *,
    consul: Annotated[
        str,
        typer.Option(
            envvar="CONSUL_HTTP_ADDR",
            metavar="URL",
            help="A Consul to use; else one that is found on PATH, else the embedded registry.",
        ),
    ] = "",
    consul_token_file: Annotated[
        Path | None,
        typer.Option(
            envvar="CONSUL_HTTP_TOKEN_FILE",
            metavar="FILE",
            help="File with an ACL token for that Consul.",
        ),
    ] = None,
    keep: Annotated[bool, typer.Option("--keep", help="Leave the mesh up until Ctrl-C.")] = False,
) -> None:
    """Run a whole mesh on this host and show what it does.

    Real traffic through real Envoys: allowed, refused with a reason, encrypted, and unharmed
    while certificates rotate and the control plane dies.  Needs no root and no network.
    """
    from rich.console import Console  # noqa: PLC0415 - help must not wait for it

    from mesh.cli.consul import with_scheme  # noqa: PLC0415 - likewise
    from mesh.demo.show import Scene, perform  # noqa: PLC0415 - likewise

    url = with_scheme(consul) if consul else ""
    raise typer.Exit(asyncio.run(perform(Scene(url, consul_token_file, keep), Console())))
