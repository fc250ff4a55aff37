"""What ``mesh vm join`` is asked, read from its options: all that is wrong at once."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any, Final, Literal, cast

from mesh.agent import http
from mesh.agent.identity import Svid, pins_of_join_token
from mesh.agent.identity_files import ABOUT
from mesh.cli import progress
from mesh.cli.arguments import read_token, refused
from mesh.clients.consul import ConsulAddress
from mesh.model import names
from mesh.model.violations import Report
from mesh.vm.layout import Layout, unit
from mesh.vm.request import Capture, Join, health

_CAPTURE_TARGETS: Final = ("mesh", "all")
_REGISTRIES: Final = ("auto", "consul", "zone", "none")


def service(name: str) -> str:
    """Return the name of a service, checked.

    Raises:
        InvalidInputError: it is none.

    """
    try:
        return names.service_name(name)
    except ValueError as error:
        raise refused("the option --service", str(error)) from error


def token(file: str) -> str:
    """Read a join token from a file, or from standard input if that is ``-``.

    Returns:
        the token; empty if no file is named.

    Raises:
        InvalidInputError: there is none.
        ProofError: it is no join token.

    """
    if not file:
        return ""
    if file == "-":
        token = sys.stdin.read().strip()
        if not token or not token.isascii() or not token.isprintable():
            raise refused("the token on standard input", "is none; pipe one join token in")
    else:
        token = read_token(Path(file), "token", "--token-file")
    pins_of_join_token(token)
    return token


def trust_domain(token: str, state: Path) -> str:
    """Return the mesh's trust domain: as the token says, or the identity in ``state``."""
    if token:
        return pins_of_join_token(token).trust_domain or ""
    try:
        return Svid.from_json((state / ABOUT).read_bytes()).trust_domain
    except (OSError, ValueError, KeyError, TypeError):
        return ""  # not enrolled: the plan will ask for a token


def app(port: int | None, application: str) -> str:
    """Return where the application listens, by its port on loopback or as said in full.

    Raises:
        InvalidInputError: neither is said, or both are.

    """
    if (port is not None) == bool(application):
        raise refused("the command", "give exactly one of --port and --app")
    return application or f"127.0.0.1:{port}"


def capture(whose: list[str], target: str, *, inbound: bool) -> Capture | None:
    """Return whose connections are captured; None for nobody's.

    Raises:
        InvalidInputError: with everything that is wrong.

    """
    problems = Report("the command")
    if target not in _CAPTURE_TARGETS:
        problems.add("--capture-to", f"{target!r} is neither mesh nor all")
    if inbound and not whose:
        problems.add("--capture-inbound", "needs --capture")
    found: dict[str, list[str]] = {"user": [], "cgroup": []}
    for each in whose:
        kind, _, name = each.partition(":")
        if kind in found and name:
            found[kind].append(name)
        elif each != "everybody" or len(whose) > 1:
            problems.add(
                "--capture", f"{each!r}: write user:NAME or cgroup:PATH, or everybody alone"
            )
    problems.close()
    if not whose:
        return None
    to = cast("Literal['mesh', 'all']", target)
    return Capture(tuple(found["user"]), tuple(found["cgroup"]), to, inbound)


def request(
    *,
    service: str,
    app: str,
    zone_api: list[str],
    upstreams: list[str],
    check: str,
    capture: Capture | None,
    registration: str,
    trust_domain: str,
    more: dict[str, Any],
) -> Join:
    """Return what is asked for; ``check`` is the health check, ``more`` further settings.

    Raises:
        InvalidInputError: with everything that is wrong.

    """
    problems = Report("the command")
    parsed = health(check, problems) if check else {}
    if registration not in _REGISTRIES:
        problems.add("--register", f"{registration!r} is none of {', '.join(_REGISTRIES)}")
    problems.close()
    return Join(
        service=service,
        app=app,
        zone_api=tuple(zone_api),
        upstreams=tuple(upstreams),
        health=parsed,
        registration=cast("Literal['consul', 'zone', 'none']", registration),
        capture=capture,
        trust_domain=trust_domain,
        more=more,
    )


def registration(asked: str, kept: object, consul: ConsulAddress) -> str:
    """Resolve ``auto``: what was so stays so."""
    if asked != "auto":
        return asked
    return str(kept) if kept else ("consul" if _answers(consul) else "zone")


def _answers(consul: ConsulAddress) -> bool:
    server, path = http.from_url(f"{consul.url.rstrip('/')}/v1/status/leader")
    try:
        progress.run("Looking for a Consul agent", http.request(server, "GET", path, timeout=2.0))
    except (http.RequestError, OSError):
        return False
    return True


def consul_section(consul: ConsulAddress, service: str, layout: Layout) -> dict[str, Any]:
    """Return the settings by which a proxy finds this host's Consul agent, if it needs any.

    A token for it is where the unit looks for one.
    """
    section = {}
    if consul.url.rstrip("/") != "http://127.0.0.1:8500":
        section["url"] = consul.url
    if layout.consul_token.exists():
        section["token_file"] = f"/run/credentials/{unit(service)}/consul-token"
    return {"consul": section} if section else {}
