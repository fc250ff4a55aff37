"""``mesh zone forget``: a zone that is gone for good, and what was known of it."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

import typer

from mesh.aio.clock import SystemClock
from mesh.cli import progress
from mesh.cli.consul import consul_options
from mesh.cli.errors import NO
from mesh.cli.output import note
from mesh.cli.zones import FRESH
from mesh.clients.consul import ConsulAddress, ConsulClient
from mesh.model.violations import InvalidInputError
from mesh.sources.zones import record


def command(app: typer.Typer) -> None:
    """Add the command to ``app``."""

    @app.command(
        "forget",
        epilog="\b\nExamples:\n  mesh zone forget west\n  mesh zone forget west --force",
    )
    @consul_options
    def forget(
        name: Annotated[str, typer.Argument(metavar="ZONE", help="The zone that is gone.")],
        *,
        consul: ConsulAddress,
        force: Annotated[
            bool, typer.Option("--force", help="Also if it was heard just now.")
        ] = False,
    ) -> None:
        """Forget a zone that is gone for good.

        What is known of another zone stands, however long it is silent; this ends it, in the zone
        whose Consul is asked.  Nobody is sent there any more, and its roots are believed no longer.
        A zone that still publishes its document is heard again at once.
        """
        now = SystemClock().now()
        outcome = progress.run("Asking Consul", forgotten(consul, name, now, force=force))
        note(outcome or f"zone {name} is forgotten")
        if outcome:
            raise typer.Exit(NO)


async def forgotten(address: ConsulAddress, name: str, now: datetime, *, force: bool) -> str:
    """Delete what is known of the zone ``name``; return why that was not done, if it was not.

    Raises:
        ConsulError: Consul did not answer, or refused.

    """
    async with ConsulClient(address) as client:
        held = (await client.kv_get(record.PREFIX + name)).value
        if held is None:
            known = sorted(
                pair.key.removeprefix(record.PREFIX)
                for pair in (await client.kv_list(record.PREFIX)).value
            )
            return f"no zone {name} is known here; those known are: {', '.join(known) or 'none'}"
        if not force and _is_heard(held.data, name, now):
            return (
                f"zone {name} was heard just now, and would be heard again: take it out of the "
                "federation first (stop `mesh zone` there, `consul leave` on its servers), or say "
                "--force"
            )
        if not await client.kv_delete(held.key, cas=held.modify_index):
            return f"something was heard of zone {name} meanwhile: look at `mesh zones`"
    return ""


def _is_heard(data: bytes, name: str, now: datetime) -> bool:
    try:
        known = record.parse(data, f"the record of zone {name}")
    except InvalidInputError:
        return False
    return not known.error and now - known.heard_at < FRESH
