"""``mesh proxies``: who is connected to a zone, and whether each has what it should."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

import typer

from mesh.aio.clock import SystemClock
from mesh.cli import times, zone_api
from mesh.cli.output import Output, OutputOption, Table, show
from mesh.cli.zone_api import DEFAULT_ZONE, AdminTokenOption, BundleOption, ZoneOption

app = typer.Typer()

COLUMNS = ("service", "proxy", "address", "since", "state", "certificate")


@app.command(epilog="\b\nExamples:\n  mesh proxies\n  mesh proxies -o json")
def proxies(
    *,
    zone: ZoneOption = DEFAULT_ZONE,
    admin_token_file: AdminTokenOption = None,
    bundle: BundleOption = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """List the proxies that a zone serves.

    Each instance of a zone lists the proxies that are connected to it.
    """
    answer = zone_api.ask(zone, admin_token_file, bundle, lambda client: client.proxies())
    found = answer["proxies"]
    table = Table(COLUMNS, rows(found, SystemClock().now()), "No proxy is connected.")
    show(output, found, table)


def rows(found: Sequence[Mapping[str, Any]], now: datetime) -> list[tuple[str, ...]]:
    """Return a row for each proxy, by service and id."""
    return [
        (
            str(each["service"]),
            str(each["id"]),
            str(each["address"]),
            times.age(now - times.read(each["connected_at"])),
            state(each),
            certificate(each.get("certificate_expires_at"), now),
        )
        for each in sorted(found, key=lambda each: (each["service"], each["id"]))
    ]


def state(proxy: Mapping[str, Any]) -> str:
    """Say whether a proxy has acknowledged everything, and if not, what is the matter."""
    refusals = [
        f"refuses {_short(each['type'])} {', '.join(each['nack']['resources'])}: "
        f"{each['nack']['reason']}"
        for each in proxy.get("types", ())
        if each.get("nack")
    ]
    if refusals:
        return "\n".join(refusals)
    if proxy["in_sync"]:
        return "synced"
    behind = [
        _short(each["type"]) for each in proxy.get("types", ()) if each["acked"] < each["sent"]
    ]
    return f"waiting for {', '.join(behind)}" if behind else "not synced"


def certificate(expires: str | None, now: datetime) -> str:
    """Say how long a certificate still lives, if that is known."""
    if not expires:
        return ""
    left = times.read(expires) - now
    return f"{times.age(left)} left" if left > timedelta() else "EXPIRED"


def _short(type_url: str) -> str:
    return type_url.rpartition(".")[2]
