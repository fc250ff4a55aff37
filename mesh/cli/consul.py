"""How a command reaches Consul: the same options everywhere, and the field's own variables.

A command that takes ``consul: ConsulAddress`` and is decorated with :func:`consul_options` gets
``--consul``, ``--consul-token-file`` and the TLS files.  A token is taken from a file or from
``CONSUL_HTTP_TOKEN``; on the command line, where every user of the host can read it, it is
refused.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Final, TypeVar

import typer

from mesh.cli.arguments import environment_only, read_token
from mesh.clients.consul import ConsulAddress

T = TypeVar("T")

_PARAMETER: Final = "consul"


def _options(  # noqa: PLR0917 - typer passes them by name
    consul_url: Annotated[
        str,
        typer.Option(
            "--consul", envvar="CONSUL_HTTP_ADDR", metavar="URL", help="Consul agent's HTTP API."
        ),
    ] = "http://127.0.0.1:8500",
    consul_token_file: Annotated[
        Path | None,
        typer.Option(
            envvar="CONSUL_HTTP_TOKEN_FILE",
            metavar="FILE",
            help="File with a Consul ACL token; else CONSUL_HTTP_TOKEN is used.",
        ),
    ] = None,
    consul_token: Annotated[
        str,
        typer.Option(envvar="CONSUL_HTTP_TOKEN", hidden=True, callback=environment_only),
    ] = "",
    consul_ca_file: Annotated[
        Path | None,
        typer.Option(envvar="CONSUL_CACERT", metavar="FILE", help="CA of Consul's own TLS."),
    ] = None,
    consul_cert_file: Annotated[
        Path | None,
        typer.Option(envvar="CONSUL_CLIENT_CERT", metavar="FILE", help="Client certificate."),
    ] = None,
    consul_key_file: Annotated[
        Path | None, typer.Option(envvar="CONSUL_CLIENT_KEY", metavar="FILE", help="Its key.")
    ] = None,
) -> ConsulAddress:
    url = with_scheme(consul_url, tls=bool(consul_ca_file))
    # The variables of TLS are set for a whole host; for a plain address they say nothing.
    files = (consul_ca_file, consul_cert_file, consul_key_file) if url[:6] == "https:" else ()
    ca_file, cert_file, key_file = (str(each or "") for each in files or (None, None, None))
    return ConsulAddress(
        url=url,
        token=_token(consul_token_file) if consul_token_file else consul_token,
        ca_file=ca_file,
        cert_file=cert_file,
        key_file=key_file,
    )


def consul_options(command: Callable[..., T]) -> Callable[..., T]:
    """Give ``command`` the options of Consul in place of its parameter ``consul``."""
    signature = inspect.signature(command, eval_str=True)
    options = inspect.signature(_options, eval_str=True)
    kept = [each for each in signature.parameters.values() if each.name != _PARAMETER]
    added = [
        each.replace(kind=inspect.Parameter.KEYWORD_ONLY) for each in options.parameters.values()
    ]

    @functools.wraps(command)
    def with_consul(**given: Any) -> T:
        own = {name: given.pop(name) for name in options.parameters if name in given}
        return command(**given, **{_PARAMETER: _options(**own)})

    with_consul.__signature__ = signature.replace(  # type: ignore[attr-defined]  # where inspect looks first
        parameters=[*kept, *added], return_annotation=signature.return_annotation
    )
    return with_consul


def with_scheme(address: str, *, tls: bool = False) -> str:
    """Return ``address`` as a URL; ``CONSUL_HTTP_ADDR`` is often a bare host and port."""
    return address if "://" in address else f"{'https' if tls else 'http'}://{address}"


def _token(file: Path) -> str:
    return read_token(file, "Consul token", "--consul-token-file")
