"""``mesh explain``: the verdict on a call, the rule behind it, and what would change it."""

from __future__ import annotations

from typing import Annotated

import typer

from mesh.cli import explanation, progress
from mesh.cli.consul import consul_options
from mesh.cli.facts import Facts, read_facts
from mesh.cli.output import Output, OutputOption
from mesh.cli.printing import show
from mesh.clients.consul import ConsulAddress, ConsulClient

app = typer.Typer(rich_markup_mode=None)

Source = Annotated[str, typer.Argument(metavar="SRC", help="The calling service.")]
Destination = Annotated[str, typer.Argument(metavar="DST", help="The service called.")]
Method = Annotated[str, typer.Option(metavar="METHOD", help="HTTP method, as in GET.")]
Path = Annotated[str, typer.Option(metavar="PATH", help="Path of the request, as in /v1.")]
Header = Annotated[
    list[str] | None, typer.Option(metavar="NAME=VALUE", help="A header; repeatable.")
]


@app.command(
    epilog="\b\nExamples:\n"
    "  mesh explain web api\n"
    "  mesh explain web api --method POST --path /v1/orders --header x-role=admin"
)
@consul_options
def explain(
    source: Source,
    destination: Destination,
    *,
    consul: ConsulAddress,
    method: Method = "",
    path: Path = "",
    header: Header = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Tell whether a call is allowed, and why.

    The verdict is computed from what Consul holds, as the zone computes it; the zone need not
    run.  The exit code is 0 whatever the verdict: `mesh intention check` is for scripts.
    """
    facts = progress.run("Asking Consul", ask(consul))
    call = explanation.read_call(
        facts.world, source, destination, method=method, path=path, headers=header or ()
    )
    found = explanation.explain(facts.world, call)
    warn(facts)
    show(output, explanation.document(found), *explanation.lines(found))


async def ask(consul: ConsulAddress) -> Facts:
    """Read what Consul holds about authorization."""
    async with ConsulClient(consul) as client:
        return await read_facts(client)


def warn(facts: Facts) -> None:
    """Name on stderr what is malformed in Consul."""
    for line in explanation.problem_lines(facts.problems):
        typer.echo(line, err=True)
