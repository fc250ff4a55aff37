"""Types that settings are made of: addresses, durations, numbers, and the base of every section.

A setting may come from a file, where it has a type, or from the environment, where all is text.
Each type here takes both forms and nothing else; what it cannot read becomes a violation that
shows a value that would do.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, Any, Final, Self
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    GetCoreSchemaHandler,
    PlainSerializer,
    TypeAdapter,
)
from pydantic_core import CoreSchema, PydanticCustomError, core_schema
from pydantic_settings import NoDecode

from mesh.model import hostport, names

_UNITS: Final = {"ms": 0.001, "s": 1, "m": 60, "h": 3_600, "d": 86_400, "w": 604_800}
_PART: Final = re.compile(r"(\d+(?:\.\d+)?)(ms|[smhdw])")
_SECONDS: Final = re.compile(r"\d+(?:\.\d+)?")
_ISO: Final = TypeAdapter(timedelta)


class Section(BaseModel):
    """Base of every part of the settings: strict, frozen, unknown names refused."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True, hide_input_in_errors=True)


INCONSISTENT: Final = "inconsistent_settings"
"""Type of the error by which a section tells of several violations at once."""


def inconsistent(violations: Sequence[tuple[str, str]]) -> PydanticCustomError:
    """Make the error that carries ``violations``, each a path within the section and a message."""
    return PydanticCustomError(
        INCONSISTENT, "the settings contradict one another", {"violations": list(violations)}
    )


class HostPort:
    """A host (name, IPv4 or IPv6 literal) and a TCP port, written ``host:port``.

    IPv6 literals stand in brackets, as in a URL: ``[::1]:5678``.
    """

    __slots__ = ("host", "port")

    host: str
    port: int

    def __init__(self, host: str, port: int) -> None:
        """Take the two parts; :meth:`parse` reads them from text."""
        self.host = host
        self.port = port

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read ``host:port`` or ``[v6]:port``.

        Raises:
            ValueError: ``text`` has no host, or no port from 0 to 65535.

        """
        return cls(*hostport.split(text))

    def __str__(self) -> str:
        """Write what :meth:`parse` reads."""
        return hostport.join(self.host, self.port)

    def __repr__(self) -> str:
        """Show the address."""
        return f"HostPort({str(self)!r})"

    def __eq__(self, other: object) -> bool:
        """Compare host and port."""
        if not isinstance(other, HostPort):
            return NotImplemented
        return (self.host, self.port) == (other.host, other.port)

    def __hash__(self) -> int:
        """Hash host and port."""
        return hash((self.host, self.port))

    @classmethod
    def __get_pydantic_core_schema__(
        cls, source: type[Any], handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        """Tell pydantic to read text with :meth:`parse` and to write it back."""
        return core_schema.no_info_plain_validator_function(
            cls._validate, serialization=core_schema.to_string_ser_schema()
        )

    @classmethod
    def _validate(cls, value: object) -> Self:
        if isinstance(value, cls):
            return value
        if not isinstance(value, str):
            raise ValueError("expected an address, as in 0.0.0.0:5678")  # noqa: TRY004 - pydantic collects ValueError only
        return cls.parse(value)


def parse_duration(value: object) -> timedelta:
    """Read seconds (a number), ``24h``, ``1h30m``, ``90d``, or ISO 8601 (``P90D``).

    Raises:
        ValueError: ``value`` is none of these, or negative.

    """
    try:
        found = _read_duration(value)
    except (OverflowError, ValueError):  # ValidationError is a ValueError too
        found = None
    if found is None or found < timedelta():
        raise ValueError(f"{value!r} is not a duration: write seconds, 30s, 24h, 90d or P90D")
    return found


def _read_duration(value: object) -> timedelta | None:
    if isinstance(value, timedelta):
        return value
    if isinstance(value, int | float) and not isinstance(value, bool):
        return timedelta(seconds=value)
    text = value.strip() if isinstance(value, str) else ""
    if _SECONDS.fullmatch(text):
        return timedelta(seconds=float(text))
    if text and not _PART.sub("", text):
        seconds = sum(float(count) * _UNITS[unit] for count, unit in _PART.findall(text))
        return timedelta(seconds=seconds)
    return _ISO.validate_python(text) if text.startswith("P") else None


def format_duration(value: timedelta) -> str:
    """Write a duration in the largest unit that holds it whole: ``24h``, ``90d``, ``1.5s``."""
    seconds = value.total_seconds()
    for unit in ("d", "h", "m"):
        if seconds and seconds % _UNITS[unit] == 0:
            return f"{seconds / _UNITS[unit]:.0f}{unit}"
    return f"{seconds:.0f}s" if seconds.is_integer() else f"{seconds:f}".rstrip("0") + "s"


def _positive(value: timedelta) -> timedelta:
    if value <= timedelta():
        raise ValueError("must be longer than zero")
    return value


def _number(value: object) -> object:
    if isinstance(value, str) and _SECONDS.fullmatch(value):
        return float(value) if "." in value else int(value)
    return value


def _path(value: object) -> object:
    return Path(value).expanduser() if isinstance(value, str) and value else value


def _existing(value: Path) -> Path:
    if not value.is_file():
        raise ValueError(f"there is no file {str(value)!r}")
    return value


def is_unspecified(host: str) -> bool:
    """Tell whether ``host`` means every address of this host, which nobody can dial."""
    try:
        return ip_address(host).is_unspecified
    except ValueError:
        return False


def checked_ip(value: str) -> str:
    """Return an IP address as it is usually written.

    Raises:
        ValueError: ``value`` is none.

    """
    try:
        return str(ip_address(value))
    except ValueError as error:
        raise ValueError(f"{value!r} is not an IP address") from error


def _url(value: str) -> str:
    parts = urlsplit(value)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise ValueError(f"{value!r} is not a URL: write http://host:port or https://host:port")
    if parts.username or parts.password:
        raise ValueError("holds a password: put the token in a file and name it in token_file")
    return value


def _listed(value: object) -> object:
    """Take ``a, b`` for a list, as a variable has it."""
    if isinstance(value, str):
        return tuple(part.strip() for part in value.split(",") if part.strip())
    return tuple(value) if isinstance(value, list) else value


Duration = Annotated[
    timedelta,
    BeforeValidator(parse_duration),
    AfterValidator(_positive),
    PlainSerializer(format_duration, return_type=str),
]
"""A positive length of time: seconds, ``24h``, ``90d`` or ISO 8601."""

Count = Annotated[int, BeforeValidator(_number)]
"""A whole number, or its digits in the environment."""

Number = Annotated[float, BeforeValidator(_number)]
"""A number, or its digits in the environment."""

FilePath = Annotated[Path, BeforeValidator(_path), PlainSerializer(str, return_type=str)]
"""A path; ``~`` is the home directory.  The file need not exist yet."""

ExistingFile = Annotated[FilePath, AfterValidator(_existing)]
"""A path of a file that must be there, such as a token or a CA somebody provides."""

Listed: Final = BeforeValidator(_listed)
"""Lets a list be given as text, separated by commas, in the environment."""

HostPorts = Annotated[tuple[HostPort, ...], NoDecode, Listed]
"""Addresses: a list, or separated by commas in the environment."""

Ip = Annotated[str, AfterValidator(checked_ip)]
"""An IPv4 or IPv6 address."""

Url = Annotated[str, AfterValidator(_url)]
"""An address for HTTP, without a password in it."""

ZoneName = Annotated[str, AfterValidator(names.zone_name)]
"""A zone: a Consul datacenter's name."""

ServiceName = Annotated[str, AfterValidator(names.service_name)]
"""A service's name."""

TrustDomain = Annotated[str, AfterValidator(names.trust_domain)]
"""A SPIFFE trust domain."""
