"""Settings of ``mesh capture``: whose connections go through which proxy of this host.

The file is written once per host and read at each boot, before anything talks to the network.
Users are names or numbers here; what they are on this host is found out where the table is planned
(:mod:`mesh.capture.plan`).
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from ipaddress import ip_network
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from mesh.config import loading
from mesh.config.types import (
    Count,
    Listed,
    Section,
    ServiceName,
    TrustDomain,
    inconsistent,
)
from mesh.model.hostport import MAX_PORT

PREFIX: Final = "MESH_CAPTURE__"
"""How the variables of ``mesh capture`` begin."""
SSH_PORT: Final = 22
"""The port that is never captured, in whichever direction."""
AGENTS: Final = ("mesh", "consul", "vault", "sshd")
"""Users whose connections are never captured: the proxies themselves, and the host's agents."""
_USER: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,30}\$?|[0-9]{1,10}")
_LAST_UID: Final = 2**32 - 2


def _user(value: object) -> str:
    text = str(value) if isinstance(value, int) and not isinstance(value, bool) else value
    if not isinstance(text, str) or not _USER.fullmatch(text):
        raise ValueError(f"{value!r} is no user: write a name or a uid, as in web or 1001")
    if text.isdigit() and int(text) > _LAST_UID:
        raise ValueError(f"{value!r} is no uid: the last is {_LAST_UID}")
    return text


def _cgroup(value: str) -> str:
    path = value.strip("/")
    parts = path.split("/")
    if not path or not set(parts).isdisjoint({"", ".", ".."}) or '"' in path or "\n" in path:
        raise ValueError(
            f"{value!r} is no cgroup: write its path below /sys/fs/cgroup, "
            "as in system.slice/web.service"
        )
    return path


def _cidr(value: str) -> str:
    try:
        return str(ip_network(value))
    except ValueError as error:
        raise ValueError(f"{value!r} is no block of addresses: write 10.1.0.0/16") from error


Port = Annotated[Count, Field(ge=1, le=MAX_PORT)]
"""A TCP or UDP port that can be dialled."""

User = Annotated[str, BeforeValidator(_user)]
"""A user's name, or a uid in digits."""

Users = Annotated[tuple[User, ...], Listed]
Ports = Annotated[tuple[Port, ...], Listed]
Cgroups = Annotated[tuple[Annotated[str, AfterValidator(_cgroup)], ...], Listed]
Cidrs = Annotated[tuple[Annotated[str, AfterValidator(_cidr)], ...], Listed]


class CapturedProxy(Section):
    """One proxy of this host, and the connections that it takes.

    Outbound, it takes those of ``users`` and of processes in ``cgroups``; with neither, everybody's
    whom no other proxy takes.
    """

    service: ServiceName
    users: Users = ()
    cgroups: Cgroups = ()
    outbound: Port | None = None
    to: Literal["mesh", "all"] = "mesh"
    inbound: dict[Port, Port] = Field(default_factory=dict)

    @property
    def takes_everybody(self) -> bool:
        """Whether it takes the connections of all whom no other proxy takes."""
        return self.outbound is not None and not self.users and not self.cgroups

    @model_validator(mode="after")
    def _whole(self) -> Self:
        found = [
            (f"users[{index}]", f"{user} is never captured: the proxies and agents run as it")
            for index, user in enumerate(self.users)
            if user in AGENTS
        ]
        if self.outbound is None:
            found += [
                (name, "needs outbound, the port that the proxy captures on")
                for name in ("users", "cgroups", "to")
                if name in self.model_fields_set
            ]
            if not self.inbound:
                found.append(("", "give outbound or inbound: with neither, nothing is captured"))
        if SSH_PORT in self.inbound:
            found.append((f"inbound.{SSH_PORT}", "is the port of SSH, which is never captured"))
        if found:
            raise inconsistent(found)
        return self


class Exclusions(Section):
    """What is not captured beside what never is.  ``ports`` and ``cidrs`` are destinations."""

    ports: Ports = ()
    cidrs: Cidrs = ()
    users: Users = ()


class CaptureNames(Section):
    """Questions for names of the mesh, and the port of the proxy that answers them."""

    port: Port = 15_053


class CaptureSettings(Section):
    """All settings of ``mesh capture``.  Without ``dns``, names are left alone."""

    trust_domain: TrustDomain = "mesh.internal"
    proxies: Annotated[tuple[CapturedProxy, ...], Listed] = ()
    exclude: Exclusions = Exclusions()
    dns: CaptureNames | None = None

    @model_validator(mode="after")
    def _whole(self) -> Self:
        found = [*self._twice(), *self._loops()]
        if len([each for each in self.proxies if each.takes_everybody]) > 1:
            found.append(("proxies", "two of them have neither users nor cgroups: one may"))
        if not self.proxies and self.dns is None:
            found.append(("proxies", "is required, or dns: with neither, nothing is captured"))
        if found:
            raise inconsistent(found)
        return self

    def _twice(self) -> Iterator[tuple[str, str]]:
        for what, values in (
            ("service", [each.service for each in self.proxies]),
            ("user", [user for each in self.proxies for user in set(each.users)]),
            ("cgroup", [cgroup for each in self.proxies for cgroup in set(each.cgroups)]),
            ("inbound port", [port for each in self.proxies for port in each.inbound]),
            ("port of a proxy", list(self._listened())),
        ):
            for value, count in sorted(Counter(map(str, values)).items()):
                if count > 1:
                    yield "proxies", f"the {what} {value} is given to {count} of them"
        captured = {user for each in self.proxies for user in each.users}
        for index, user in enumerate(self.exclude.users):
            if user in captured:
                yield f"exclude.users[{index}]", f"{user} is captured by one of proxies"

    def _loops(self) -> Iterator[tuple[str, str]]:
        listened = set(self._listened())
        for index, proxy in enumerate(self.proxies):
            for port in sorted(listened & proxy.inbound.keys()):
                message = "is where a proxy listens: name the application's own port"
                yield f"proxies[{index}].inbound.{port}", message

    def _listened(self) -> Iterator[int]:
        for proxy in self.proxies:
            if proxy.outbound is not None:
                yield proxy.outbound
            yield from sorted(set(proxy.inbound.values()))


def load_capture(file: Path, overrides: Mapping[str, Any] | None = None) -> CaptureSettings:
    """Read the settings of the host.

    Raises:
        InvalidInputError: with every violation.

    """
    return loading.load(CaptureSettings, prefix=PREFIX, file=file, overrides=overrides)
