"""``mesh``: the root command, its table of commands, and its exit codes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, ClassVar, Final

import typer

from mesh.cli import errors
from mesh.cli.lazy import Entry, LazyGroup, Section

SECTIONS: Final[Sequence[Section]] = (
    (
        "Run the mesh",
        (
            Entry("demo", "Run a whole mesh on this host and show what it does.", "mesh.cli.demo"),
            Entry("zone", "Run the control plane of a zone.", "mesh.cli.zone"),
            Entry("proxy", "Run a service's proxy.", "mesh.cli.proxy"),
            Entry("gateway", "Run a gateway of the zone.", "mesh.cli.gateway"),
            Entry(
                "vm",
                "Mesh the services of this host: join, status, leave.",
                "mesh.cli.vm",
            ),
            Entry(
                "ratelimit",
                "Run the rate limit service, which counts for many proxies.",
                "mesh.cli.ratelimit",
            ),
            Entry(
                "capture",
                "Send connections of this host's applications through its proxies.",
                "mesh.cli.capture",
            ),
        ),
    ),
    (
        "Let in, and say who may call whom",
        (
            Entry("token", "Make and revoke join tokens.", "mesh.cli.token"),
            Entry("intention", "Say which service may call which.", "mesh.cli.intention"),
            Entry(
                "explain",
                "Tell whether a call is allowed, why, and the way that it takes.",
                "mesh.cli.explain",
            ),
        ),
    ),
    (
        "Shape traffic",
        (
            Entry("apply", "Apply policies from files: all of them, or none.", "mesh.cli.apply"),
            Entry("get", "Show policies, or the versions of one.", "mesh.cli.get"),
            Entry(
                "diff", "Show how policies in files differ from those that stand.", "mesh.cli.diff"
            ),
            Entry(
                "delete",
                "Delete policies, by name or those in files: all of them, or none.",
                "mesh.cli.delete",
            ),
            Entry(
                "validate",
                "Tell everything that is wrong with policies in files.",
                "mesh.cli.validate",
            ),
            Entry("rollout", "Watch and steer how new versions take over.", "mesh.cli.rollout"),
        ),
    ),
    (
        "Look",
        (
            Entry("check", "Check what the mesh needs, and say what to do.", "mesh.cli.check"),
            Entry(
                "zones",
                "List the zones of the mesh, and how well this one knows them.",
                "mesh.cli.zones",
            ),
            Entry("services", "List the services of a zone.", "mesh.cli.services"),
            Entry("proxies", "List the proxies that a zone serves.", "mesh.cli.proxies"),
            Entry("config", "Show the configuration of one proxy.", "mesh.cli.config"),
        ),
    ),
    (
        "Certificates",
        (
            Entry("ca", "Show who signs certificates, and the trust bundle.", "mesh.cli.ca"),
            Entry("vault", "Prepare Vault for the mesh.", "mesh.cli.vault"),
        ),
    ),
    ("About", (Entry("version", "Print the versions of the mesh's parts.", "mesh.cli.version"),)),
)
"""Every command.  A help must equal the first line of the command's own."""


class Mesh(LazyGroup):
    """The root.  Foreseen errors of any command end here."""

    sections: ClassVar[Sequence[Section]] = SECTIONS

    def invoke(self, ctx: Any) -> Any:
        """Run the command; print a foreseen error as what failed and what to do.

        Raises:
            Exit: with the error's code.

        """
        try:
            return super().invoke(ctx)
        except errors.known() as error:
            errors.report(error)
            raise typer.Exit(errors.exit_code(error)) from error


app = typer.Typer(
    cls=Mesh,
    name="mesh",
    rich_markup_mode=None,
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog=errors.EXIT_CODES,
)


def _version(*, wanted: bool) -> None:
    if wanted:
        from mesh.cli.version import distribution  # noqa: PLC0415 - only who asks pays for it

        typer.echo(f"mesh {distribution('consul-mesh')}")
        raise typer.Exit


@app.callback()
def root(
    *,
    version: Annotated[
        bool,
        typer.Option("--version", is_eager=True, callback=_version, help="Print the version."),
    ] = False,
) -> None:
    """A service mesh over Consul, Vault and Envoy."""


def main() -> None:
    """Run the command that the arguments name, and exit with its code."""
    # The command itself, not the Typer around it: a defect keeps Python's own traceback.
    typer.main.get_command(app).main(prog_name="mesh")
