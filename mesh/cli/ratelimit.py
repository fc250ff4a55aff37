"""``mesh ratelimit``: the service that counts for many proxies."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Final

import typer

from mesh.cli.output import Output, OutputOption, Table, show
from mesh.config import ratelimit as config
from mesh.config.ratelimit import RateLimitSettings
from mesh.ratelimit.errors import ExtraMissingError

EXTRA: Final = frozenset({"grpc", "limits", "redis"})
"""Packages that the extra ``ratelimit`` brings."""

app = typer.Typer(no_args_is_help=True)


@app.callback()
def ratelimit() -> None:
    """Run the rate limit service, which counts for many proxies."""


@app.command(
    epilog="\b\nExamples:\n"
    "  mesh ratelimit run\n"
    "  mesh ratelimit run --redis-url redis://redis.example:6379/0\n"
    "  mesh ratelimit run --config /etc/mesh/ratelimit.yaml --check-config"
)
def run(
    *,
    config_file: Annotated[
        Path | None,
        typer.Option("--config", "-c", metavar="FILE", help="Settings file, TOML or YAML."),
    ] = None,
    listen: Annotated[
        str | None,
        typer.Option(metavar="ADDRESS:PORT", help="Where gRPC is served; default 127.0.0.1:5681."),
    ] = None,
    health_listen: Annotated[
        str | None,
        typer.Option(metavar="ADDRESS:PORT", help="Readiness and metrics; default 127.0.0.1:5682."),
    ] = None,
    redis_url: Annotated[
        str | None,
        typer.Option(metavar="URL", help="Count in this Redis; by default in memory."),
    ] = None,
    redis_password_file: Annotated[
        Path | None, typer.Option(metavar="FILE", help="File with the password of Redis.")
    ] = None,
    check_config: Annotated[
        bool, typer.Option("--check-config", help="Print the settings in effect, and stop.")
    ] = False,
    output: OutputOption = Output.YAML,
) -> None:
    """Answer whether a request is over a limit, as Envoy's RateLimitService.

    Limits come with each request, from the policies of the proxies that ask.  Counters are in
    memory, or in a Redis that several instances share.  Every setting may also be given as a
    variable: MESH_RATELIMIT__LISTEN__GRPC=127.0.0.1:5681.
    """
    overrides: dict[str, dict[str, Any]] = {"listen": {}, "redis": {}}
    for section, name, value in (
        ("listen", "grpc", listen),
        ("listen", "health", health_listen),
        ("redis", "url", redis_url),
        ("redis", "password_file", str(redis_password_file) if redis_password_file else None),
    ):
        if value is not None:
            overrides[section][name] = value
    settings = config.load(config_file, {name: each for name, each in overrides.items() if each})
    if check_config:
        document = settings.model_dump(mode="json")
        show(output, document, Table(("setting", "value"), _rows(document)))
        return
    _run(settings)


def _run(settings: RateLimitSettings) -> None:
    try:
        from mesh.ratelimit import program  # noqa: PLC0415 - only who runs it needs the extra
    except ModuleNotFoundError as error:
        missing = (error.name or "").partition(".")[0]
        if missing in EXTRA:
            raise ExtraMissingError(missing) from error
        raise
    program.run(settings)


def _rows(document: dict[str, Any], path: str = "") -> list[tuple[str, object]]:
    rows: list[tuple[str, object]] = []
    for name, value in document.items():
        here = f"{path}.{name}" if path else name
        rows += _rows(value, here) if isinstance(value, dict) else [(here, value)]
    return rows
