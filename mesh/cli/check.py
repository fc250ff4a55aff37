"""``mesh check``: is everything there that the mesh needs, and what to do if not."""

from __future__ import annotations

import enum
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Final

import typer

from mesh.ca.vault_layout import Mode
from mesh.cli import progress
from mesh.cli.arguments import environment_only, refused
from mesh.cli.checks import catalogue, runner
from mesh.cli.checks.model import Checked, Section
from mesh.cli.checks.report import document, lines
from mesh.cli.checks.surroundings import Surroundings, ZonePlace
from mesh.cli.consul import consul_options
from mesh.cli.errors import NO
from mesh.cli.output import Output, show
from mesh.cli.zone_api import (
    DEFAULT_ZONE,
    AdminTokenOption,
    BundleOption,
    ZoneOption,
    zone_address,
)
from mesh.clients.consul import ConsulAddress, ConsulClient
from mesh.clients.vault import AuthMethod, Token, TokenFile, VaultClient, VaultSettings
from mesh.config.types import parse_duration

app = typer.Typer()

_PAUSE: Final = 1.0


class Form(enum.StrEnum):
    """How the result is printed; ``short`` leaves out what is well."""

    TABLE = "table"
    SHORT = "short"
    JSON = "json"
    YAML = "yaml"


@dataclass(frozen=True, slots=True)
class VaultPlace:
    """The Vault to check, and how to log in."""

    settings: VaultSettings
    auth: AuthMethod
    mount: str
    mode: Mode


@app.command(
    epilog="\b\nExamples:\n"
    "  mesh check\n"
    "  mesh check --wait 2m -o short\n"
    "  mesh check --vault https://vault:8200 --vault-token-file /etc/mesh/vault-token"
)
@consul_options
def check(
    context: typer.Context,
    *,
    consul: ConsulAddress,
    zone: ZoneOption = DEFAULT_ZONE,
    admin_token_file: AdminTokenOption = None,
    bundle: BundleOption = None,
    vault: Annotated[
        str, typer.Option(envvar="VAULT_ADDR", metavar="URL", help="Vault; without it, unchecked.")
    ] = "",
    vault_token_file: Annotated[
        Path | None,
        typer.Option(
            envvar="VAULT_TOKEN_FILE",
            metavar="FILE",
            help="File with a Vault token; else VAULT_TOKEN is used.",
        ),
    ] = None,
    vault_token: Annotated[
        str, typer.Option(envvar="VAULT_TOKEN", hidden=True, callback=environment_only)
    ] = "",
    vault_ca_file: Annotated[
        Path | None,
        typer.Option(envvar="VAULT_CACERT", metavar="FILE", help="CA of Vault's own TLS."),
    ] = None,
    vault_namespace: Annotated[
        str, typer.Option(envvar="VAULT_NAMESPACE", metavar="NAME", help="Vault namespace.")
    ] = "",
    vault_mount: Annotated[str, typer.Option(metavar="PATH", help="The PKI mount.")] = "pki",
    vault_mode: Annotated[Mode, typer.Option(help="Who signs the leaves.")] = Mode.VAULT,
    wait: Annotated[
        str, typer.Option(metavar="TIME", help="Check again until all is well, as in 2m.")
    ] = "0",
    output: Annotated[
        Form, typer.Option("--output", "-o", help="How the result is printed.")
    ] = Form.TABLE,
) -> None:
    """Check what the mesh needs, and say what to do.

    √ is well, ‼ deserves a look, × keeps the mesh from its work: then the exit code is 1.
    """
    source = context.get_parameter_source("zone")
    named = bundle is not None or (source is not None and source.name != "DEFAULT")
    place = ZonePlace(zone_address(zone, bundle), admin_token_file, named)
    auth: AuthMethod = TokenFile(vault_token_file) if vault_token_file else Token(vault_token)
    vault_place = (
        VaultPlace(
            VaultSettings(vault, vault_ca_file, vault_namespace), auth, vault_mount, vault_mode
        )
        if vault
        else None
    )
    patience = _patience(wait)
    checked = progress.run("Checking", look(consul, place, vault_place, patience))
    form = Output.TABLE if output is Form.SHORT else Output(output.value)
    show(form, document(checked), *lines(checked, short=output is Form.SHORT))
    if any(section.failed for section in checked):
        raise typer.Exit(NO)


async def look(
    consul: ConsulAddress, zone: ZonePlace, vault: VaultPlace | None, patience: timedelta
) -> list[Checked]:
    """Run every check; again while something fails and ``patience`` lasts."""
    async with AsyncExitStack() as stack:
        client = await stack.enter_async_context(ConsulClient(consul))
        vault_client = None
        if vault is not None:
            vault_client = VaultClient(vault.settings, vault.auth)
            stack.push_async_callback(vault_client.close)
        clock = Surroundings(client).clock
        end = clock.monotonic() + patience.total_seconds()
        while True:
            checked = await runner.run(_sections(client, zone, vault, vault_client))
            if not any(section.failed for section in checked) or clock.monotonic() >= end:
                return checked
            await clock.sleep(_PAUSE)


def _sections(
    client: ConsulClient,
    zone: ZonePlace,
    vault: VaultPlace | None,
    vault_client: VaultClient | None,
) -> list[Section]:
    surroundings = Surroundings(client)
    sections = [catalogue.local(), catalogue.consul(surroundings)]
    if vault is not None and vault_client is not None:
        sections.append(catalogue.vault(vault_client, vault.mount, vault.mode))
    return [*sections, catalogue.zone(zone, surroundings)]


def _patience(text: str) -> timedelta:
    try:
        return parse_duration(text)
    except ValueError as error:
        raise refused("the option --wait", str(error)) from error
