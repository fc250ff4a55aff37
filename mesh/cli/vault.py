"""``mesh vault``: prepare a Vault for the mesh.

``mesh vault setup`` is run once by somebody with an administrator's token, and again whenever they
like: what is there already stays.
"""

from __future__ import annotations

import asyncio
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from mesh.ca.setup import SetupReport, prepare
from mesh.ca.vault_layout import Layout, Mode
from mesh.cli.output import Output, OutputOption, note, table, write
from mesh.clients.vault import AuthMethod, Token, TokenFile, VaultClient, VaultSettings
from mesh.model import names

app = typer.Typer(help="Prepare Vault for the mesh.", no_args_is_help=True)


@app.callback()
def _group() -> None:
    # Keeps ``setup`` a command of its own while it is the only one.
    """Prepare Vault for the mesh."""


def _from_environment(context: typer.Context, value: str) -> str:
    source = context.get_parameter_source("token")
    if value and source is not None and source.name == "COMMANDLINE":
        raise typer.BadParameter(
            "a token on the command line can be read by everybody on this host: "
            "set VAULT_TOKEN or use --token-file"
        )
    return value


@app.command()
def setup(
    *,
    trust_domain: Annotated[str, typer.Option(help="SPIFFE trust domain of the mesh.")],
    address: Annotated[
        str, typer.Option(envvar="VAULT_ADDR", help="Vault's URL.")
    ] = "https://127.0.0.1:8200",
    token_file: Annotated[
        Path | None,
        typer.Option(
            envvar="VAULT_TOKEN_FILE",
            help="File with an administrator's token; else VAULT_TOKEN is used.",
        ),
    ] = None,
    token: Annotated[
        str, typer.Option(envvar="VAULT_TOKEN", hidden=True, callback=_from_environment)
    ] = "",
    ca_file: Annotated[
        Path | None, typer.Option(envvar="VAULT_CACERT", help="CA of Vault's own TLS.")
    ] = None,
    namespace: Annotated[str, typer.Option(envvar="VAULT_NAMESPACE", help="Vault namespace.")] = "",
    mount: Annotated[str, typer.Option(help="Path of the PKI mount.")] = "pki",
    mode: Annotated[Mode, typer.Option(help="Who signs the leaves.")] = Mode.VAULT,
    approle: Annotated[
        Path | None,
        typer.Option(help="Make an AppRole too, and write role-id and secret-id there (0600)."),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would be done, and do nothing.")
    ] = False,
    output: OutputOption = Output.TABLE,
) -> None:
    """Make the PKI mount, the root, the roles and the policy that a zone needs.

    Running it again changes nothing that is right already.
    """
    auth: AuthMethod = TokenFile(token_file) if token_file else Token(token)
    settings = VaultSettings(address, ca_file, namespace)
    layout = Layout(
        names.trust_domain(trust_domain), mount.strip("/"), mode, approle_directory=approle
    )
    report, warnings = asyncio.run(_run(settings, auth, layout, dry_run=dry_run))
    for warning in warnings:
        note(f"warning: {warning}")
    _print(report, output)


async def _run(
    settings: VaultSettings, auth: AuthMethod, layout: Layout, *, dry_run: bool
) -> tuple[SetupReport, list[str]]:
    warnings: list[str] = []
    client = VaultClient(
        settings, auth, on_warning=lambda path, text: warnings.append(f"{path}: {text}")
    )
    try:
        await client.start()
        return await prepare(client, layout, dry_run=dry_run), warnings
    finally:
        await client.close()


def _print(report: SetupReport, output: Output) -> None:
    if output is not Output.TABLE:
        write(_document(report), output)
        return
    table(
        ("what", "where", "state"),
        ((step.what, step.where, step.state.value) for step in report.steps),
    )
    typer.echo(f"\nRoot: {report.fingerprint or 'not made yet'}")
    typer.echo(f"Policy {report.policy_name}:\n\n{report.policy}", nl=False)


def _document(report: SetupReport) -> dict[str, Any]:
    return {
        "steps": [{**asdict(step), "state": step.state.value} for step in report.steps],
        "policy": {"name": report.policy_name, "text": report.policy},
        "root": report.fingerprint,
    }
