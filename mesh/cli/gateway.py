"""``mesh gateway``: a proxy at the border of a zone.  It is run as ``mesh proxy`` is."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from mesh.cli.proxy import become_agent
from mesh.config.loading import read_file
from mesh.config.proxy import DEFAULT_EDGE_PORT, DEFAULT_EGRESS_PORT, DEFAULT_INGRESS_PORT
from mesh.model.proxies import Role

app = typer.Typer()

_Text = str | None
_File = Path | None


@app.command(
    epilog="\b\nExamples:\n"
    "  mesh token create --service mesh-gateway --out gateway.token\n"
    "  mesh gateway --ingress --zone-api zone.west.example:5678 \\\n"
    "    --join-token-file gateway.token --state-dir /var/lib/mesh/gateway\n"
    "  mesh token create --service mesh-egress --out egress.token\n"
    "  mesh gateway --egress --zone-api zone.west.example:5678 \\\n"
    "    --join-token-file egress.token --state-dir /var/lib/mesh/egress\n"
    "  mesh gateway --edge --name edge --zone-api zone.west.example:5678 \\\n"
    "    --join-token-file edge.token --state-dir /var/lib/mesh/edge\n"
    "  mesh gateway --config /etc/mesh/gateway.yaml"
)
def gateway(
    *,
    ingress: Annotated[
        bool, typer.Option("--ingress", help="Let calls from other zones in.")
    ] = False,
    egress: Annotated[
        bool,
        typer.Option("--egress", help="Let calls out, to other zones and external services."),
    ] = False,
    edge: Annotated[bool, typer.Option("--edge", help="Serve clients outside the mesh.")] = False,
    name: Annotated[
        _Text,
        typer.Option(
            metavar="SERVICE",
            help="With --edge: the service that it is, as its ingress-gateway entry is called.",
        ),
    ] = None,
    config: Annotated[
        _File,
        typer.Option("--config", "-c", metavar="FILE", help="Settings file, as of `mesh proxy`."),
    ] = None,
    id: Annotated[  # noqa: A002 - the option's name
        _Text,
        typer.Option(
            metavar="ID",
            help="The instance; default: named after service and host, and kept from then on.",
        ),
    ] = None,
    state_dir: Annotated[
        _File, typer.Option(metavar="DIR", help="Where the gateway keeps its state.")
    ] = None,
    zone_api: Annotated[
        list[str] | None,
        typer.Option(metavar="HOST:PORT", help="The zone's API; repeatable."),
    ] = None,
    join_token_file: Annotated[
        _File, typer.Option(metavar="FILE", help="File with a join token for its service.")
    ] = None,
    consul_token_file: Annotated[
        _File, typer.Option(metavar="FILE", help="Or: file with a Consul ACL token.")
    ] = None,
    bundle_file: Annotated[
        _File,
        typer.Option(metavar="FILE", help="The mesh's trust bundle; a join token needs none."),
    ] = None,
    address: Annotated[
        _Text, typer.Option(metavar="ADDRESS", help="Where it listens; default every address.")
    ] = None,
    port: Annotated[
        int | None,
        typer.Option(
            metavar="PORT",
            help=f"Its port; default {DEFAULT_INGRESS_PORT} (egress: {DEFAULT_EGRESS_PORT}; edge: "
            f"{DEFAULT_EDGE_PORT}, that of /ready, for a load balancer).",
        ),
    ] = None,
    files_dir: Annotated[
        _File,
        typer.Option(
            metavar="DIR",
            help="Where --egress finds the files of terminating-gateway entries; default "
            "/etc/mesh/egress.",
        ),
    ] = None,
    advertise_address: Annotated[
        _Text, typer.Option(metavar="ADDRESS", help="The address of this host in its zone.")
    ] = None,
    wan_address: Annotated[
        _Text,
        typer.Option(
            metavar="ADDRESS:PORT", help="Where other zones dial it, if that is somewhere else."
        ),
    ] = None,
    listen: Annotated[
        _Text,
        typer.Option(
            metavar="ADDRESS:PORT", help="Readiness and metrics; default 127.0.0.1:15020."
        ),
    ] = None,
    register: Annotated[
        _Text, typer.Option(metavar="WHERE", help="Register with consul (default), zone or none.")
    ] = None,
    consul_url: Annotated[
        _Text, typer.Option(metavar="URL", help="The Consul agent of this host.")
    ] = None,
    drain: Annotated[
        _Text, typer.Option(metavar="TIME", help="How long a stop may wait, as in 30s.")
    ] = None,
    envoy: Annotated[
        _File, typer.Option(metavar="FILE", help="Another Envoy than the bundled one.")
    ] = None,
    concurrency: Annotated[
        int | None, typer.Option(metavar="N", help="Envoy's worker threads.")
    ] = None,
    log_level: Annotated[
        _Text, typer.Option(metavar="LEVEL", help="debug, info, warning or error.")
    ] = None,
    vault_address: Annotated[
        _Text, typer.Option(metavar="URL", help="With --edge: the Vault with its certificates.")
    ] = None,
    vault_ca_file: Annotated[
        _File, typer.Option(metavar="FILE", help="The authority that Vault's API is under.")
    ] = None,
    vault_token_file: Annotated[
        _File, typer.Option(metavar="FILE", help="File with a Vault token.")
    ] = None,
    vault_role_id_file: Annotated[
        _File, typer.Option(metavar="FILE", help="Or: file with an AppRole's role id.")
    ] = None,
    vault_secret_id_file: Annotated[
        _File, typer.Option(metavar="FILE", help="And: file with its secret id.")
    ] = None,
    check_config: Annotated[
        bool, typer.Option("--check-config", help="Check the settings, and stop.")
    ] = False,
) -> None:
    """Run a gateway of the zone.

    With --ingress it sends calls from other zones to the services that they name.  It decrypts
    nothing: caller and callee authenticate each other through it.

    With --egress it sends calls out of the zone: those to other zones as they are, those to
    external services after it has judged them by intentions.

    With --edge it serves clients outside the mesh: what its ingress-gateway entry and MeshGateway
    policies say, to the services that intentions let it call.

    A settings file may name the role instead, as the unit mesh-gateway.service has it.

    Run two or more of each.
    """
    role = _role({Role.ZONE_GATEWAY: ingress, Role.EGRESS: egress, Role.EDGE: edge}, config)
    if name is not None and role != Role.EDGE:
        raise typer.BadParameter(f"a {role} has its name already: leave --name out")
    approle = {
        "role_id_file": _text(vault_role_id_file),
        "secret_id_file": _text(vault_secret_id_file),
    }
    given = {
        "role": role,
        "service": name,
        "vault": _said(
            address=vault_address,
            ca_file=_text(vault_ca_file),
            auth=_said(token_file=_text(vault_token_file), approle=_said(**approle)),
        ),
        "files_dir": _text(files_dir),
        "id": id,
        "state_dir": _text(state_dir),
        "zone_api": zone_api or None,
        "join_token_file": _text(join_token_file),
        "consul_token_file": _text(consul_token_file),
        "bundle_file": _text(bundle_file),
        "inbound_address": address,
        "inbound_port": port,
        "advertise_address": advertise_address,
        "wan_address": wan_address,
        "listen": listen,
        "registration": register,
        "consul": {"url": consul_url} if consul_url else None,
        "drain": drain,
        "envoy": _text(envoy),
        "concurrency": concurrency,
        "log_level": log_level,
    }
    become_agent(config, given, only_check=check_config)


def _role(asked: dict[Role, bool], config: Path | None) -> str:
    """Return the role that is asked for, or that the settings file names."""
    roles = [each.value for each, is_meant in asked.items() if is_meant]
    if not roles and config is not None:
        roles = [str(said) for said in (read_file(config).get("role"),) if said is not None]
    if len(roles) != 1 or roles[0] == Role.SIDECAR:
        wanted = "give one of --ingress, --egress and --edge, or a role in the settings file"
        raise typer.BadParameter(f"say which gateway this is: {wanted}")
    return roles[0]


def _said(**fields: Any) -> dict[str, Any] | None:
    """Return what is given; None if nothing is."""
    return {name: value for name, value in fields.items() if value is not None} or None


def _text(path: Path | None) -> str | None:
    return str(path) if path is not None else None
