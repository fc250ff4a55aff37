"""``mesh vault``: prepare a Vault for the mesh.

``mesh vault setup`` is run once by somebody with an administrator's token, and again whenever they
like: what is there already stays.
"""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from mesh.ca.setup import SetupReport, prepare
from mesh.ca.vault_layout import Layout, Mode
from mesh.cli import progress
from mesh.cli.arguments import environment_only
from mesh.cli.output import Output, OutputOption, Table, show, warn
from mesh.clients.vault import AuthMethod, Token, TokenFile, VaultClient, VaultSettings
from mesh.model import names

app = typer.Typer(no_args_is_help=True)


@app.callback()
def group() -> None:
    """Prepare Vault for the mesh."""


@app.command(
    epilog="\b\nExamples:\n"
    "  mesh vault setup --trust-domain mesh.example --token-file admin-token --dry-run\n"
    "  mesh vault setup --trust-domain mesh.example --token-file admin-token "
    "--approle /etc/mesh"
)
def setup(
    *,
    trust_domain: Annotated[
        str, typer.Option(metavar="NAME", help="SPIFFE trust domain of the mesh.")
    ],
    address: Annotated[
        str, typer.Option(envvar="VAULT_ADDR", metavar="URL", help="Vault's HTTP API.")
    ] = "https://127.0.0.1:8200",
    token_file: Annotated[
        Path | None,
        typer.Option(
            envvar="VAULT_TOKEN_FILE",
            metavar="FILE",
            help="File with an administrator's token; else VAULT_TOKEN is used.",
        ),
    ] = None,
    token: Annotated[
        str, typer.Option(envvar="VAULT_TOKEN", hidden=True, callback=environment_only)
    ] = "",
    ca_file: Annotated[
        Path | None,
        typer.Option(envvar="VAULT_CACERT", metavar="FILE", help="CA of Vault's own TLS."),
    ] = None,
    namespace: Annotated[
        str, typer.Option(envvar="VAULT_NAMESPACE", metavar="NAME", help="Vault namespace.")
    ] = "",
    mount: Annotated[str, typer.Option(metavar="PATH", help="The PKI mount.")] = "pki",
    mode: Annotated[Mode, typer.Option(help="Who signs the leaves.")] = Mode.VAULT,
    approle: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR", help="Make an AppRole too, and write role-id and secret-id there (0600)."
        ),
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
    work = _run(settings, auth, layout, dry_run=dry_run)
    report, warnings = progress.run("Asking Vault", work)
    warn(warnings)
    steps = [(step.what, step.where, step.state.value) for step in report.steps]
    show(
        output,
        _document(report),
        Table(("what", "where", "state"), steps),
        f"\nRoot: {report.fingerprint or 'not made yet'}",
        f"Policy {report.policy_name}:\n\n{report.policy.rstrip()}",
    )


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


def _document(report: SetupReport) -> dict[str, Any]:
    return {
        "steps": [{**asdict(step), "state": step.state.value} for step in report.steps],
        "policy": {"name": report.policy_name, "text": report.policy},
        "root": report.fingerprint,
    }
