"""``mesh intention``: say who may call whom, in Consul's intentions."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Final

import typer

from mesh.cli import explanation, progress
from mesh.cli.consul import consul_options
from mesh.cli.errors import NO
from mesh.cli.explain import Destination, Header, Method, Source, judge
from mesh.cli.explain import Path as RequestPath
from mesh.cli.explanation import Request
from mesh.cli.facts import ask, report_problems
from mesh.cli.intention_change import Statement, delete_pair, state_pair
from mesh.cli.intention_files import apply_documents, read_documents
from mesh.cli.output import Output, OutputOption, Table, show, warn
from mesh.cli.permissions import Options, describe, jwt_text
from mesh.clients.consul import ConsulAddress
from mesh.model.intentions import Action, Intention
from mesh.world.snapshot import World

app = typer.Typer(no_args_is_help=True)

_MATCHES: Final = "name (present), name=exact, name^=prefix, name$=suffix, name*=part, name~=regex"

_Methods = Annotated[
    list[str] | None, typer.Option("--method", metavar="METHOD", help="HTTP method; repeatable.")
]
_PathExact = Annotated[str, typer.Option(metavar="PATH", help="The whole path.")]
_PathPrefix = Annotated[str, typer.Option(metavar="PREFIX", help="How the path begins.")]
_PathRegex = Annotated[str, typer.Option(metavar="RE2", help="What the whole path matches.")]
_Headers = Annotated[
    list[str] | None,
    typer.Option(
        "--header", metavar="MATCH", help=f"{_MATCHES}; a leading ! inverts.  Repeatable."
    ),
]
_Jwt = Annotated[
    list[str] | None,
    typer.Option(
        metavar="PROVIDER[:CLAIM=VALUE]",
        help="A token of this provider; nested claims as a.b=value.  Claims of one provider "
        "must all hold, several providers are alternatives.",
    ),
]
_First = Annotated[bool, typer.Option("--first", help="Ask this permission before the others.")]
_Description = Annotated[str | None, typer.Option(metavar="TEXT", help="A note for people.")]

_EXAMPLES: Final = (
    "\b\nExamples:\n"
    "  mesh intention {0} web api\n"
    "  mesh intention {0} '*' api --description 'by default'\n"
    "  mesh intention {0} web@partner api\n"
    "  mesh intention {0} web api --method GET --path-prefix /v1\n"
    "  mesh intention {0} web api --header 'x-role=admin' --jwt okta:team=payments"
)


@app.callback()
def group() -> None:
    """Say which service may call which."""


def _stating(action: Action) -> Callable[..., None]:
    @consul_options
    def state(
        source: Source,
        destination: Destination,
        *,
        consul: ConsulAddress,
        method: _Methods = None,
        path_exact: _PathExact = "",
        path_prefix: _PathPrefix = "",
        path_regex: _PathRegex = "",
        header: _Headers = None,
        jwt: _Jwt = None,
        first: _First = False,
        description: _Description = None,
        output: OutputOption = Output.TABLE,
    ) -> None:
        options = Options(
            method or (), path_exact, path_prefix, path_regex, header or (), jwt or ()
        )
        statement = Statement(source, destination, action, options, description, first)
        stated = progress.run("Writing to Consul", state_pair(consul, statement))
        warn(stated.warnings)
        intention = stated.intention
        document = {"state": stated.state.value, **explanation.intention_document(intention)}
        show(output, document, f"{intention.label}: {stated.state}", table([intention]))

    return state


for _action in Action:
    app.command(
        _action.value,
        help=f"{_action.value.capitalize()} calls from SRC to DST; either may be '*'.\n\n"
        "With conditions, a permission for requests that meet all of them is added to what "
        "the pair has.  Doing it again changes nothing.",
        epilog=_EXAMPLES.format(_action.value),
    )(_stating(_action))


@app.command(
    "apply",
    epilog="\b\nExamples:\n"
    "  mesh intention apply -f api-intentions.yaml\n"
    "  consul config read -kind service-intentions -name api | mesh intention apply -f -",
)
@consul_options
def apply_files(
    *,
    file: Annotated[
        list[Path],
        typer.Option("--file", "-f", metavar="FILE", help="YAML or JSON; - is stdin.  Repeatable."),
    ],
    consul: ConsulAddress,
    output: OutputOption = Output.TABLE,
) -> None:
    """Write service-intentions documents from files.

    Each is the whole truth about its destination, in either of Consul's dialects.  All are
    validated before any is written.  A file may hold several documents.
    """
    entries = [entry for each in file for entry in read_documents(each)]
    found = progress.run("Writing to Consul", apply_documents(consul, entries))
    document = [{"destination": name, "state": state.value} for name, state in found]
    show(
        output,
        document,
        Table(("destination", "state"), [(name, state.value) for name, state in found]),
    )


@app.command(
    "list",
    epilog="\b\nExamples:\n  mesh intention list\n  mesh intention list --destination api -o yaml",
)
@consul_options
def list_intentions(
    *,
    consul: ConsulAddress,
    source: Annotated[str, typer.Option(metavar="SRC", help="Only of this source.")] = "",
    destination: Annotated[str, typer.Option(metavar="DST", help="Only to this one.")] = "",
    output: OutputOption = Output.TABLE,
) -> None:
    """List the intentions, the strongest first within a destination."""
    facts = progress.run("Asking Consul", ask(consul))
    found = select(facts.world, source, destination)
    report_problems(facts)
    default = "allowed" if facts.world.default_allow else "denied"
    show(
        output,
        [explanation.intention_document(each) for each in found],
        table(found),
        f"Whatever none of these covers is {default}.",
    )


@app.command(epilog="\b\nExample:\n  mesh intention delete web api")
@consul_options
def delete(
    source: Source,
    destination: Destination,
    *,
    consul: ConsulAddress,
    output: OutputOption = Output.TABLE,
) -> None:
    """Delete the intention between SRC and DST.

    One that is not there is no error.
    """
    there = progress.run("Writing to Consul", delete_pair(consul, source, destination))
    word = "deleted" if there else "not there"
    document = {"source": source, "destination": destination, "state": word}
    show(output, document, f"{source} → {destination}: {word}")


@app.command(
    epilog="\b\nExamples:\n"
    "  mesh intention check web api && echo allowed\n"
    "  mesh intention check web api --method GET --path /v1"
)
@consul_options
def check(
    source: Source,
    destination: Destination,
    *,
    consul: ConsulAddress,
    method: Method = "",
    path: RequestPath = "",
    header: Header = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Exit with 0 if SRC may call DST, with 1 if not.

    Where that depends on the request, and none is described, the answer is no.
    """
    found = judge(consul, Request(source, destination, method, path, header or ()))
    show(
        output,
        {
            "allowed": found.verdict.allowed,
            "conditional": found.verdict.conditional,
            "reason": found.verdict.reason,
        },
        f"{found.word}: {found.verdict.reason}",
    )
    if not found.verdict.allowed:
        raise typer.Exit(NO)


def select(world: World, source: str, destination: str) -> list[Intention]:
    """Return the intentions of the pairs asked for, by destination and precedence."""
    found = [each for entry in world.intentions.values() for each in entry]
    wanted = [
        each
        for each in found
        if source in {"", each.source} and destination in {"", each.destination}
    ]
    return sorted(wanted, key=lambda each: (each.destination, -each.precedence, each.source))


def table(intentions: list[Intention]) -> Table:
    """Return intentions as rows, a line for each permission."""
    rows = []
    for each in intentions:
        rules = [str(each.action)] if each.action else []
        rules += [describe(permission) for permission in each.permissions]
        rules += [f"requires jwt {jwt_text(each.jwt)}"] if each.jwt else []
        row = (each.source, each.destination, "\n".join(rules), each.precedence)
        rows.append((*row, each.description))
    return Table(("source", "destination", "rules", "precedence", "description"), rows)
