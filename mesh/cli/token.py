"""``mesh token``: join tokens, made and revoked at the zone."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Final

import typer

from mesh.cli import zone_api
from mesh.cli.arguments import refused, write_token
from mesh.cli.output import Output, OutputOption, Table, note, show
from mesh.cli.zone_api import DEFAULT_ZONE, AdminTokenOption, BundleOption, ZoneOption
from mesh.config.types import format_duration, parse_duration
from mesh.model.violations import Report

app = typer.Typer(no_args_is_help=True)

# A zone signs a token with a certificate of its own, whose end is the token's too.
_CUT_SHORT: Final = timedelta(minutes=1)


@app.callback()
def group() -> None:
    """Make and revoke join tokens."""


@app.command(
    epilog="\b\nExamples:\n"
    "  mesh token create --service web --out web.token\n"
    "  mesh token create --prefix shop- --reusable --ttl 7d"
)
def create(
    *,
    service: Annotated[
        str, typer.Option(metavar="NAME", help="The one service that may enrol.")
    ] = "",
    prefix: Annotated[
        str, typer.Option(metavar="PREFIX", help="Or: any service whose name starts so.")
    ] = "",
    ttl: Annotated[
        str, typer.Option(metavar="TIME", help="How long it may wait for its first use, as in 30m.")
    ] = "1h",
    reusable: Annotated[
        bool, typer.Option("--reusable", help="Let several hosts enrol with it.")
    ] = False,
    out: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write the token to a new file (0600).")
    ] = None,
    zone: ZoneOption = DEFAULT_ZONE,
    admin_token_file: AdminTokenOption = None,
    bundle: BundleOption = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Make a join token, which lets a host enrol as a service.

    The token is printed this once; --out keeps it off the screen.
    """
    lifetime = _check(service, prefix, ttl)
    if out is not None and out.exists():
        raise refused("the option --out", f"{out} exists already; name a new file")
    made = zone_api.ask(
        zone,
        admin_token_file,
        bundle,
        lambda client: client.create_token(
            service=service, prefix=prefix, ttl=lifetime, reusable=reusable
        ),
    )
    document = {**made, "for": service or f"{prefix}*", "reusable": reusable}
    if out is not None:
        write_token(out, str(made["token"]))
        document["token"] = f"written to {out}"
    expires = datetime.fromisoformat(str(made["expires_at"]))
    left = expires - datetime.now(UTC)  # noqa: TID251 - the person's own clock, for a note to him
    if left < lifetime - _CUT_SHORT:
        whole = timedelta(seconds=round(left.total_seconds()))
        note(f"note: it lives {whole}, the zone's own certificate no longer")
    rows = [(name.replace("_", " "), value) for name, value in document.items() if name != "token"]
    # The token on a line of its own, whole, to be copied.
    show(output, document, Table(("field", "value"), rows), f"\n{document['token']}")


@app.command(epilog="\b\nExample:\n  mesh token revoke 4f0c1e9a")
def revoke(
    token_id: Annotated[str, typer.Argument(metavar="ID", help="The token's id.")],
    *,
    zone: ZoneOption = DEFAULT_ZONE,
    admin_token_file: AdminTokenOption = None,
    bundle: BundleOption = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Revoke a join token, used or not.

    Hosts that enrolled with it keep their certificates until those expire, and renew them; but
    none can prove itself with the token again.
    """
    zone_api.ask(zone, admin_token_file, bundle, lambda client: client.revoke_token(token_id))
    document = {"id": token_id, "revoked": True}
    show(output, document, Table(("id", "state"), [(token_id, "revoked")]))


def _check(service: str, prefix: str, ttl: str) -> timedelta:
    report = Report("the command")
    if bool(service) == bool(prefix):
        report.add("", "give exactly one of --service and --prefix")
    lifetime = timedelta()
    try:
        lifetime = parse_duration(ttl)
    except ValueError as error:
        report.add("--ttl", str(error))
    else:
        if not lifetime:
            report.add("--ttl", f"{format_duration(lifetime)} is no time: write 30m or 1h")
    report.close()
    return lifetime
