"""``mesh config``: the configuration of one proxy, from the zone or from the Envoy itself."""

from __future__ import annotations

import enum
import os
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from mesh.agent.admin import Admin
from mesh.agent.errors import AgentError
from mesh.agent.http import RequestError
from mesh.cli import progress, resources, zone_api
from mesh.cli.arguments import refused
from mesh.cli.output import Output, OutputOption, Table, show
from mesh.cli.resources import Kind, Shown
from mesh.cli.zone_api import DEFAULT_ZONE, AdminTokenOption, BundleOption, ZoneOption

app = typer.Typer()

_SOCKETS: Final = "envoy*.sock"


class Which(enum.StrEnum):
    """What to show: one kind, or all."""

    LISTENERS = "listeners"
    CLUSTERS = "clusters"
    ROUTES = "routes"
    ENDPOINTS = "endpoints"
    FILTERS = "filters"
    SECRETS = "secrets"
    ALL = "all"

    @property
    def kinds(self) -> tuple[Kind, ...]:
        """The kinds meant."""
        return tuple(Kind) if self is Which.ALL else (Kind(self.value),)


@app.command(
    epilog="\b\nExamples:\n"
    "  mesh config --proxy web/web-1\n"
    "  mesh config listeners --proxy web/web-1 -o yaml\n"
    "  mesh config secrets --state-dir /var/lib/mesh/web"
)
def config(
    which: Annotated[Which, typer.Argument(help="What to show.")] = Which.ALL,
    *,
    proxy: Annotated[
        str, typer.Option(metavar="ID", help="What the zone sent this proxy: see 'mesh proxies'.")
    ] = "",
    state_dir: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="What the Envoy of this host's proxy has, instead."),
    ] = None,
    zone: ZoneOption = DEFAULT_ZONE,
    admin_token_file: AdminTokenOption = None,
    bundle: BundleOption = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Show the configuration of one proxy.

    The table is a summary; -o json and -o yaml show all of it.  Keys are never shown.
    """
    if bool(proxy) == bool(state_dir):
        raise refused("the command", "give exactly one of --proxy and --state-dir")
    if state_dir is not None:
        found = resources.from_dump(progress.run("Asking Envoy", dump(state_dir)))
    else:
        answer = zone_api.ask(
            zone, admin_token_file, bundle, lambda client: client.proxy_config(proxy)
        )
        found = resources.from_zone(answer)
    wanted = [each for each in found if each.kind in which.kinds]
    show(output, [each.document() for each in wanted], *tables(which, wanted))


def tables(which: Which, shown: list[Shown]) -> list[str | Table]:
    """Return the summary: a table for each kind, with a heading where there are several."""
    parts: list[str | Table] = []
    for kind in which.kinds:
        if len(which.kinds) > 1:
            parts.append(f"{'' if not parts else chr(10)}{kind.value.capitalize()}:")
        parts.append(Table(resources.columns(kind), resources.rows(kind, shown)))
    return parts


async def dump(state_dir: Path) -> Any:
    """Ask the Envoy that runs in ``state_dir`` for all that it has.

    Raises:
        NoEnvoyError: no Envoy answers there.

    """
    reason = "it holds no socket of an Envoy"
    for each in _sockets(state_dir):
        # A socket's address holds 107 bytes; through the directory it is always short.
        descriptor = os.open(state_dir, os.O_RDONLY | os.O_DIRECTORY)
        try:
            return await Admin(f"/proc/self/fd/{descriptor}/{each.name}").config_dump()
        except RequestError as error:
            reason = f"{each.name}: {error}"
        finally:
            os.close(descriptor)
    raise NoEnvoyError(state_dir, reason)


def _sockets(state_dir: Path) -> list[Path]:
    found = state_dir.glob(_SOCKETS)
    return sorted(found, key=lambda each: each.stat().st_mtime, reverse=True)


class NoEnvoyError(AgentError):
    """No Envoy answers in a state directory."""

    def __init__(self, state_dir: Path, reason: str) -> None:
        """Name the directory."""
        super().__init__(
            f"no Envoy answers in {state_dir}: {reason}",
            "Name the --state-dir of a 'mesh proxy' that runs, and run this as its user",
        )
