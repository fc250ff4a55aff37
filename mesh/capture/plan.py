"""What is captured on this host: settings and this host's users in, a plan out.

A connection belongs to one proxy at most.  The most specific way of naming it wins: the deepest
cgroup, then the user, then the proxy that takes everybody's.  Whoever belongs to a proxy that takes
the mesh's addresses only is not passed on to a less specific one that takes all.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import Final

from mesh.config.capture import AGENTS, SSH_PORT, CapturedProxy, CaptureSettings
from mesh.model.violations import Report
from mesh.model.vips import DOMAIN, IPV4, ipv6_block

Network = IPv4Network | IPv6Network
Accounts = Callable[[str], int | None]
"""Finds the uid of a name; None if there is no such user."""

OWN_USER: Final = AGENTS[0]
"""The user that the proxies run as: what it sends is never captured, or it would come back."""
SYSTEM_USERS: Final = (
    *AGENTS,
    "systemd-network",
    "systemd-resolve",
    "systemd-timesync",
    "chrony",
    "_chrony",
)
"""Whose connections are never captured, where they exist."""
ROOT: Final = 0
"""Captured only where it is named."""
NEVER: Final[Sequence[Network]] = tuple(
    ip_network(each) for each in ("169.254.0.0/16", "224.0.0.0/4", "fe80::/10", "ff00::/8")
)
"""Destinations that are never captured: link-local (metadata, DHCP) and multicast."""


@dataclass(frozen=True, slots=True)
class Taker:
    """A proxy, and the connections that it takes: outbound, to ``port``.

    ``everybody`` stands by itself: one whose cgroups are not there yet takes nobody's, not all.
    """

    service: str
    port: int
    to_all: bool
    users: tuple[int, ...] = ()
    cgroups: tuple[str, ...] = ()
    everybody: bool = False


@dataclass(frozen=True, slots=True)
class Entrance:
    """A port of an application, and the proxy's port where connections to it go instead."""

    service: str
    port: int
    to: int


@dataclass(frozen=True, slots=True)
class Names:
    """Questions for names below ``domain``, a single label, go to ``port`` of loopback."""

    domain: str
    port: int


@dataclass(frozen=True, slots=True)
class Plan:
    """All that is captured, and what never is.

    ``own`` is the uid of the proxies; ``exempt`` are all uids, ``own`` among them, whose
    connections are left alone; ``ports`` and ``networks`` are destinations that are.
    ``virtual`` are the mesh's own addresses.
    """

    own: int
    takers: tuple[Taker, ...] = ()
    entrances: tuple[Entrance, ...] = ()
    exempt: tuple[int, ...] = ()
    virtual: tuple[Network, ...] = ()
    ports: tuple[int, ...] = (SSH_PORT,)
    networks: tuple[Network, ...] = tuple(NEVER)
    names: Names | None = None


def plan(settings: CaptureSettings, accounts: Accounts) -> Plan:
    """Say what is captured, with the uids that ``accounts`` finds on this host.

    Raises:
        InvalidInputError: with every user that this host does not have.

    """
    report = Report("the capture settings")
    own = accounts(OWN_USER)
    if own is None:
        report.add("", f"there is no user {OWN_USER}, which the proxies run as: make it first")
    excluded = _uids(settings.exclude.users, "exclude.users", accounts, report)
    takers = tuple(
        Taker(
            proxy.service,
            proxy.outbound,
            proxy.to == "all",
            _uids(proxy.users, f"proxies[{index}].users", accounts, report),
            proxy.cgroups,
            proxy.takes_everybody,
        )
        for index, proxy in enumerate(settings.proxies)
        if proxy.outbound is not None
    )
    system = {uid for name in SYSTEM_USERS if (uid := accounts(name)) is not None}
    _refuse_clashes(settings.proxies, system | set(excluded), accounts, report)
    report.close()
    blocks = (ip_network(each) for each in settings.exclude.cidrs)
    return Plan(
        own=own if own is not None else ROOT,
        takers=takers,
        entrances=tuple(
            Entrance(proxy.service, port, to)
            for proxy in settings.proxies
            for port, to in sorted(proxy.inbound.items())
        ),
        exempt=tuple(sorted(system | set(excluded))),
        virtual=(IPV4, ipv6_block(settings.trust_domain)),
        ports=tuple(sorted({SSH_PORT, *settings.exclude.ports})),
        networks=(*NEVER, *blocks),
        names=Names(DOMAIN, settings.dns.port) if settings.dns else None,
    )


def by_precedence(takers: Sequence[Taker]) -> list[tuple[str | tuple[int, ...] | None, Taker]]:
    """Return who takes what, the most specific first: a cgroup, uids, or None for everybody."""
    cgroups = [(each, taker) for taker in takers for each in taker.cgroups]
    cgroups.sort(key=lambda one: (-depth(one[0]), one[0]))
    return [
        *cgroups,
        *((taker.users, taker) for taker in takers if taker.users),
        *((None, taker) for taker in takers if taker.everybody),
    ]


def depth(cgroup: str) -> int:
    """Return how far below the root a cgroup is; the root's children are at 1."""
    return cgroup.count("/") + 1


def _uids(users: Sequence[str], path: str, accounts: Accounts, report: Report) -> tuple[int, ...]:
    found = set()
    for index, user in enumerate(users):
        uid = int(user) if user.isdigit() else accounts(user)
        if uid is None:
            report.add(f"{path}[{index}]", f"there is no user {user!r} on this host")
        else:
            found.add(uid)
    return tuple(sorted(found))


def _refuse_clashes(
    proxies: Sequence[CapturedProxy], exempt: set[int], accounts: Accounts, report: Report
) -> None:
    """Find what only uids tell: two names of one user, or the uid of one who is exempt."""
    taken: dict[int, str] = {}
    for index, proxy in enumerate(proxies):
        for at, user in enumerate(proxy.users):
            uid = int(user) if user.isdigit() else accounts(user)
            if uid is None:
                continue
            path = f"proxies[{index}].users[{at}]"
            if uid in exempt:
                report.add(path, f"{user} is uid {uid}, which is never captured")
            if taken.setdefault(uid, path) != path:
                report.add(path, f"{user} is uid {uid}, as {taken[uid]} is")
