"""``mesh explain``: the verdict on a call, the rule behind it, and what would change it."""

from __future__ import annotations

from typing import Annotated

import typer

from mesh.cli import explanation, progress
from mesh.cli.consul import consul_options
from mesh.cli.explanation import Explanation, Request
from mesh.cli.facts import ask, report_problems
from mesh.cli.output import Output, OutputOption, show
from mesh.clients.consul import ConsulAddress

app = typer.Typer()

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
    request = Request(source, destination, method, path, header or ())
    found = judge(consul, request)
    show(output, explanation.document(found), *explanation.lines(found))


def judge(consul: ConsulAddress, request: Request) -> Explanation:
    """Explain what becomes of ``request`` by what Consul holds.

    Raises:
        InvalidInputError: with everything that is wrong with the request.
        ConsulError: Consul did not answer, or refused.

    """
    facts = progress.run("Asking Consul", ask(consul))
    call = explanation.read_call(facts.world, request)
    report_problems(facts)
    return explanation.explain(facts.world, call)
