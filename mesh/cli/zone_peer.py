"""``mesh zone peer``: peers, zones of other organisations, made and ended at the zone."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from mesh.cli import zone_api
from mesh.cli.arguments import read_token, refused, write_token
from mesh.cli.output import Output, OutputOption, Table, show
from mesh.cli.zone_api import DEFAULT_ZONE, AdminTokenOption, BundleOption, ZoneOption
from mesh.config.types import parse_duration

app = typer.Typer(no_args_is_help=True)

_Name = Annotated[str, typer.Argument(metavar="NAME", help="The peer: the name of its zone.")]


@app.callback()
def group() -> None:
    """Make peers of zones of other organisations, and end that."""


@app.command(epilog="\b\nExample:\n  mesh zone peer create --name partner --out partner.token")
def create(
    *,
    name: Annotated[str, typer.Option(metavar="ZONE", help="The zone that may become a peer.")],
    ttl: Annotated[
        str, typer.Option(metavar="TIME", help="How long the token may wait, as in 30m.")
    ] = "1h",
    out: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write the token to a new file (0600).")
    ] = None,
    zone: ZoneOption = DEFAULT_ZONE,
    admin_token_file: AdminTokenOption = None,
    bundle: BundleOption = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Make a peering token, by which one zone of another organisation may become a peer.

    It is good once.  The administrator of the other zone gives it to `mesh zone peer accept`;
    hand it over by a way on which nobody can put another in its place.
    """
    try:
        lifetime = parse_duration(ttl)
    except ValueError as error:
        raise refused("the option --ttl", str(error)) from error
    if out is not None and out.exists():
        raise refused("the option --out", f"{out} exists already; name a new file")
    made = zone_api.ask(
        zone, admin_token_file, bundle, lambda client: client.invite_peer(name, lifetime)
    )
    document = {"name": name, **made}
    if out is not None:
        write_token(out, str(made["token"]))
        document["token"] = f"written to {out}"
    rows = [(key.replace("_", " "), value) for key, value in document.items() if key != "token"]
    show(output, document, Table(("field", "value"), rows), f"\n{document['token']}")


@app.command(epilog="\b\nExample:\n  mesh zone peer accept partner.token")
def accept(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="File with the peering token.")],
    *,
    zone: ZoneOption = DEFAULT_ZONE,
    admin_token_file: AdminTokenOption = None,
    bundle: BundleOption = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Become the peer of the zone that made the token.

    Nothing can be called either way until MeshExportedServices and intentions name the peer.
    """
    token = read_token(file, "peering token", "FILE")
    found = zone_api.ask(zone, admin_token_file, bundle, lambda client: client.accept_peer(token))
    document = {"name": found["name"], "trust_domain": found["trust_domain"]}
    show(output, document, f"{found['name']} ({found['trust_domain']}) is a peer now")


@app.command("list", epilog="\b\nExample:\n  mesh zone peer list -o yaml")
def list_peers(
    *,
    zone: ZoneOption = DEFAULT_ZONE,
    admin_token_file: AdminTokenOption = None,
    bundle: BundleOption = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """List the peers: what each lets us call, what it may call, and how well it is heard."""
    answer = zone_api.ask(zone, admin_token_file, bundle, lambda client: client.peers())
    found = answer["peers"]
    show(output, found, Table(_COLUMNS, [_row(each) for each in found]))


@app.command(epilog="\b\nExample:\n  mesh zone peer forget partner")
def forget(
    name: _Name,
    *,
    zone: ZoneOption = DEFAULT_ZONE,
    admin_token_file: AdminTokenOption = None,
    bundle: BundleOption = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """End the peering with a zone, or withdraw its invitation.

    Its callers are believed no more, and it is told nothing.  The other side is not asked: it
    forgets by itself.
    """
    zone_api.ask(zone, admin_token_file, bundle, lambda client: client.forget_peer(name))
    document = {"name": name, "state": "forgotten"}
    show(output, document, f"{name}: forgotten")


_COLUMNS = ("peer", "state", "trust domain", "we may call", "it may call", "heard", "error")


def _row(peer: dict[str, Any]) -> tuple[object, ...]:
    return (
        peer["name"],
        peer["state"],
        peer["trust_domain"],
        ", ".join(peer["imported"]),
        ", ".join(peer["exported"]),
        peer["heard_at"] or "",
        peer["error"],
    )
