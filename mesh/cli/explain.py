"""``mesh explain``: the verdict on a call, what is behind it, and the way that the call takes."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from mesh.cli import explanation, progress, way, way_facts
from mesh.cli.arguments import refused
from mesh.cli.checks.surroundings import ZonePlace
from mesh.cli.consul import consul_options
from mesh.cli.explanation import Explanation, Request
from mesh.cli.facts import ask, report_problems
from mesh.cli.output import Output, OutputOption, show, warn
from mesh.cli.zone_api import (
    DEFAULT_ZONE,
    AdminTokenOption,
    BundleOption,
    ZoneOption,
    zone_address,
)
from mesh.clients.consul import ConsulAddress
from mesh.model import callers
from mesh.policies.intentions import Call
from mesh.render.parties import UnknownProxyError
from mesh.render.way_document import whole
from mesh.routing import requests as routing
from mesh.world.snapshot import World

app = typer.Typer()

Source = Annotated[
    str, typer.Argument(metavar="SRC", help="The calling service; of a peer: web@partner.")
]
Destination = Annotated[str, typer.Argument(metavar="DST", help="The service called.")]
Method = Annotated[str, typer.Option(metavar="METHOD", help="HTTP method, as in GET.")]
Path = Annotated[str, typer.Option(metavar="PATH", help="Path of the request, as in /v1.")]
Header = Annotated[
    list[str] | None, typer.Option(metavar="NAME=VALUE", help="A header; repeatable.")
]


Proxy = Annotated[
    str,
    typer.Option(
        "--source-proxy",
        metavar="INSTANCE",
        help="The instance of SRC that calls; default: the first by its id.",
    ),
]


@app.command(
    epilog="\b\nExamples:\n"
    "  mesh explain web api\n"
    "  mesh explain web api --method POST --path '/v1/orders?all=1' --header x-role=admin\n"
    "  mesh explain web api --path /v1 --zone zone-1:5678"
)
@consul_options
def explain(
    context: typer.Context,
    source: Source,
    destination: Destination,
    *,
    consul: ConsulAddress,
    method: Method = "",
    path: Path = "",
    header: Header = None,
    source_proxy: Proxy = "",
    zone: ZoneOption = DEFAULT_ZONE,
    admin_token_file: AdminTokenOption = None,
    bundle: BundleOption = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Tell whether a call is allowed, why, and the way that it takes.

    The way is the route that a request takes (GET / where none is given), where it may end with
    which share, subset and instances, the timeouts, retries and limits that apply, what meets it
    at the callee, and which document said each.

    Verdict and way are computed from what Consul holds, as the zone computes them; the zone need
    not run.  With --zone (or MESH_ZONE_API) the zone itself is asked, which knows the labels of
    the connected proxies.  The exit code is 0 whatever the verdict: `mesh intention check` is for
    scripts.

    Consul ACL rules that it takes: read for service_prefix "", node_prefix "", and key_prefix
    "mesh/"; without the last, policies are left out.
    """
    request = Request(source, destination, method, path, header or ())
    named = context.get_parameter_source("zone")
    if named is not None and named.name != "DEFAULT":
        place = ZonePlace(zone_address(zone, bundle), admin_token_file, named=True)
        found = progress.run("Asking the zone", _by_zone(place, request, source_proxy))
        way_lines = [] if callers.peer_of(source) else way.lines(found)
        show(output, found, *explanation.text(found), *way_lines)
        return
    facts, world, missing = progress.run(
        "Asking Consul", way_facts.ask(consul, source, destination)
    )
    call = explanation.read_call(facts.world, request)
    report_problems(facts)
    warn(missing)
    judged = explanation.explain(facts.world, call)
    if callers.peer_of(source):
        # Where its calls go before they come here is its own zone's affair.
        show(output, explanation.document(judged), *explanation.lines(judged))
        return
    try:
        walked = whole(world, (source, source_proxy), destination, _asked(call), {})
    except UnknownProxyError as error:
        raise refused("the option --source-proxy", str(error)) from error
    found = {**explanation.document(judged), **walked}
    show(output, found, *explanation.lines(judged), *way.lines(found))


def _asked(call: Call) -> routing.Request:
    return routing.Request(call.method or "GET", call.path or "/", call.headers)


async def _by_zone(place: ZonePlace, request: Request, proxy: str) -> dict[str, Any]:
    # Checked here: what the zone would say of it names no option.
    call = explanation.read_call(World("", ""), request)
    async with place.client() as zone:
        answer = await zone.explain(
            call.source,
            call.destination,
            method=call.method,
            path=call.path,
            headers=call.headers.items(),
            proxy=proxy,
        )
    return dict(answer)


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
