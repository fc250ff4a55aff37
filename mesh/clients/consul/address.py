"""Where a Consul agent is and how to be let in."""

from __future__ import annotations

from dataclasses import dataclass, field
from urllib.parse import urlsplit

from mesh.model.violations import Report

_SCHEMES = ("http", "https", "unix")


@dataclass(frozen=True, slots=True)
class ConsulAddress:
    """A Consul agent's HTTP API.

    ``url`` is ``http://host:port``, ``https://host:port`` or ``unix:///path/to/socket``; an
    IPv6 literal stands in brackets.  Everything comes from here: no environment variable is
    read, so that what an operator configured is what happens.
    """

    url: str = "http://127.0.0.1:8500"
    token: str = field(default="", repr=False)
    datacenter: str = ""
    ca_file: str = ""
    cert_file: str = ""
    key_file: str = ""

    def __post_init__(self) -> None:
        """Refuse an address that cannot be dialled.

        Raises:
            InvalidInputError: with every violation.

        """
        report = Report("the Consul address")
        self._check_url(report)
        if bool(self.cert_file) != bool(self.key_file):
            report.add("cert_file", "a client certificate needs both cert_file and key_file")
        if self.scheme != "https" and (self.ca_file or self.cert_file):
            report.add("url", f"{self.url!r} has certificates set; use https://")
        report.close()

    def _check_url(self, report: Report) -> None:
        try:
            parts = urlsplit(self.url)
            port = parts.port
        except ValueError as error:
            report.add("url", f"{self.url!r} is not a URL: {error}")
            return
        if parts.scheme not in _SCHEMES:
            report.add("url", f"{self.url!r} must begin with http://, https:// or unix://")
        elif parts.scheme == "unix":
            if not self.socket:
                report.add("url", f"{self.url!r} names no socket: write unix:///path/to/socket")
        elif not parts.hostname or port is None:
            report.add("url", f"{self.url!r} must name a host and a port")
        elif parts.path not in {"", "/"} or parts.query or parts.username or parts.fragment:
            report.add("url", f"{self.url!r} must be scheme://host:port and nothing more")

    @property
    def scheme(self) -> str:
        """``http``, ``https`` or ``unix``."""
        return self.url.split("://", 1)[0]

    @property
    def socket(self) -> str:
        """Path of the Unix socket, or empty."""
        return self.url.removeprefix("unix://") if self.scheme == "unix" else ""

    @property
    def base(self) -> str:
        """What every request's URL begins with."""
        return "http://consul.sock" if self.socket else self.url.rstrip("/")
