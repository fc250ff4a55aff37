"""``mesh ca``: who signs a zone's certificates, and the roots that the mesh believes."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from mesh.aio.clock import SystemClock
from mesh.ca.bundle import from_pem
from mesh.ca.describe import root_statuses, root_warnings
from mesh.cli import progress, zone_api
from mesh.cli.arguments import unwritable
from mesh.cli.output import Output, OutputOption, Table, note, show
from mesh.cli.times import age
from mesh.cli.zone_api import (
    DEFAULT_ZONE,
    AdminTokenOption,
    BundleOption,
    ZoneOption,
    zone_address,
)
from mesh.cli.zone_probe import Probe, probe

_SHOWN: Final = len("sha256:") + 16

app = typer.Typer(no_args_is_help=True)


@app.callback()
def group() -> None:
    """Show who signs certificates, and the trust bundle."""


@app.command(epilog="\b\nExamples:\n  mesh ca status\n  mesh ca status -o json")
def status(
    *,
    zone: ZoneOption = DEFAULT_ZONE,
    admin_token_file: AdminTokenOption = None,
    bundle: BundleOption = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Show who signs, until when, and what to see to."""
    answer = zone_api.ask(zone, admin_token_file, bundle, lambda client: client.status())
    seen = progress.run("Asking the zone", probe(zone_address(zone, bundle)))
    document = describe(answer, seen, SystemClock().now())
    show(output, document, *parts(document))


@app.command(
    "bundle", epilog="\b\nExamples:\n  mesh ca bundle > bundle.pem\n  mesh ca bundle --out ca.pem"
)
def trust_bundle(
    *,
    out: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write it to this file, atomically.")
    ] = None,
    zone: ZoneOption = DEFAULT_ZONE,
    bundle: BundleOption = None,
) -> None:
    """Print the roots that the mesh believes, as PEM.

    Asked of a zone that the bundle at hand trusts; no admin token is needed.
    """
    seen = progress.run("Asking the zone", probe(zone_address(zone, bundle)))
    pem = str(seen.bundle["bundle"])
    if out is None:
        typer.echo(pem, nl=False)
        return
    _write(out, pem)
    note(f"{out}: {len(from_pem(pem))} roots, the first {seen.bundle['fingerprint']}")


def describe(status: Mapping[str, Any], seen: Probe, now: datetime) -> dict[str, Any]:
    """Return what there is to say of a zone's authority."""
    roots = from_pem(str(seen.bundle["bundle"]))
    said = [*status.get("warnings", ()), *root_warnings(roots, now)]
    return {
        "zone": seen.bundle["zone"],
        "trust_domain": seen.bundle["trust_domain"],
        "mode": status["ca_mode"],
        "issuer_expires_at": status.get("ca_expires_at"),
        "zone_certificate_expires_at": seen.not_after.isoformat(),
        "fingerprint": seen.bundle["fingerprint"],
        "roots": [
            {
                "subject": root.subject,
                "fingerprint": root.fingerprint,
                "expires_at": root.not_after.isoformat(),
                "left": age(root.not_after - now),
            }
            for root in root_statuses(roots)
        ],
        "warnings": list(dict.fromkeys(said)),
    }


def parts(document: Mapping[str, Any]) -> list[str | Table]:
    """Return the description for people."""
    plain = [
        (name.replace("_", " "), str(value or ""))
        for name, value in document.items()
        if isinstance(value, str | None) and name != "fingerprint"
    ]
    roots = [
        (each["subject"], _short(each["fingerprint"]), each["expires_at"][:10], each["left"])
        for each in document["roots"]
    ]
    return [
        Table(("what", "value"), plain),
        "",
        Table(("root", "fingerprint", "expires", "left"), roots),
        # Whole, on a line of its own, to be copied.
        f"\nFingerprint: {document['fingerprint']}",
        *(f"warning: {each}" for each in document["warnings"]),
    ]


def _short(fingerprint: str) -> str:
    return f"{fingerprint[:_SHOWN]}…"


def _write(file: Path, text: str) -> None:
    # Whoever reads it meanwhile finds the old one or the new one, whole.
    temporary = file.with_name(f".{file.name}.new")
    try:
        temporary.write_text(text, encoding="utf-8")
        temporary.replace(file)
    except OSError as error:
        raise unwritable(file, error) from error
