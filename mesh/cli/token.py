"""``mesh token``: join tokens, made and revoked at the zone."""

from __future__ import annotations

import os
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from mesh.cli import output, zone_api
from mesh.cli.output import Output, OutputOption
from mesh.cli.zone_api import DEFAULT_ZONE, AdminTokenOption, BundleOption, ZoneOption
from mesh.config.types import format_duration, parse_duration
from mesh.model.violations import InvalidInputError, Report, Violation

app = typer.Typer(help="Make and revoke join tokens.", no_args_is_help=True)

# A zone signs a token with a certificate of its own, whose end is the token's too.
_CUT_SHORT: Final = timedelta(minutes=1)


@app.command()
def create(
    *,
    service: Annotated[str, typer.Option(help="The one service that may enrol.")] = "",
    prefix: Annotated[str, typer.Option(help="Or: any service whose name starts so.")] = "",
    ttl: Annotated[str, typer.Option(help="How long it may wait for its first use.")] = "1h",
    reusable: Annotated[
        bool, typer.Option("--reusable", help="Let several hosts enrol with it.")
    ] = False,
    out: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write the token to a new file (0600).")
    ] = None,
    zone: ZoneOption = DEFAULT_ZONE,
    admin_token_file: AdminTokenOption = None,
    bundle: BundleOption = None,
    output_: OutputOption = Output.TABLE,
) -> None:
    """Make a join token, which lets a host enrol as a service.

    The token is printed this once; --out keeps it off the screen.
    """
    lifetime = _check(service, prefix, ttl)
    if out is not None and out.exists():
        raise InvalidInputError(
            "the option --out", (Violation("", f"{out} exists already; name a new file"),)
        )
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
        _write_secret(out, str(made["token"]))
        document["token"] = f"written to {out}"
    expires = datetime.fromisoformat(str(made["expires_at"]))
    left = expires - datetime.now(UTC)  # noqa: TID251 - the person's own clock, for a note to him
    if left < lifetime - _CUT_SHORT:
        whole = timedelta(seconds=round(left.total_seconds()))
        output.note(f"note: it lives {whole}, the zone's own certificate no longer")
    _show(document, output_)


@app.command()
def revoke(
    token_id: Annotated[str, typer.Argument(metavar="ID", help="The token's id.")],
    *,
    zone: ZoneOption = DEFAULT_ZONE,
    admin_token_file: AdminTokenOption = None,
    bundle: BundleOption = None,
    output_: OutputOption = Output.TABLE,
) -> None:
    """Revoke a join token, used or not.

    Hosts that enrolled with it keep their certificates until those expire, and renew them; but
    none can prove itself with the token again.
    """
    zone_api.ask(zone, admin_token_file, bundle, lambda client: client.revoke_token(token_id))
    document = {"id": token_id, "revoked": True}
    output.show(document, output_, ("id", "state"), lambda: [(token_id, "revoked")])


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


def _write_secret(file: Path, token: str) -> None:
    try:
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w") as opened:
            opened.write(token + "\n")
    except OSError as error:
        found = Violation("", f"{file} cannot be written: {error.strerror}")
        raise InvalidInputError("the option --out", (found,)) from error


def _show(document: Mapping[str, Any], form: Output) -> None:
    rows = [(name.replace("_", " "), value) for name, value in document.items() if name != "token"]
    if form is not Output.TABLE:
        output.write(dict(document), form)
        return
    output.table(("field", "value"), rows)
    # On a line of its own, whole, to be copied.
    typer.echo(f"\n{document['token']}")
