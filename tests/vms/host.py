"""Debian hosts under their own systemd, for a test.

::

    async with hosts("web", "api", layers=mesh_layers) as bed:
        web = bed["web"]
        await web.run("systemctl", "start", "mesh-proxy@web")
        await web.reboot()

A host has a kernel in common with this machine, and nothing else: see ``tests/testbed/vmhost.sh``.
Hosts and machine share a bridge of this bed's own, on which the machine is ``bed.address``.  There
is no way out of it, so packages are pushed.  Hosts and bridge are gone when the block ends, however
it does; what a test run that was killed has left is removed by the next.  Needs root.
"""

from __future__ import annotations

import contextlib
import fcntl
import ipaddress
import itertools
import json
import os
import shutil
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from tests.vms.commands import Finished, finished, run

__all__ = ["Bed", "Finished", "Host", "finished", "hosts", "run"]

SCRIPT: Final = Path(__file__).parents[1] / "testbed" / "vmhost.sh"
CACHE: Final = Path(os.getenv("TESTBED_CACHE") or Path.home() / ".cache" / "mesh-testbed")
_HOME: Final = CACHE / "vms"
_NETWORKS: Final = ipaddress.IPv4Network("10.96.0.0/11")
"""Where beds take their networks from."""
_numbers: Final = itertools.count()


async def script(*words: str, within: float = 120) -> str:
    """Run ``vmhost.sh``; return what it prints."""
    return (await run(str(SCRIPT), *words, within=within)).strip()


@dataclass(slots=True)
class Host:
    """One host.  Its root file system is seen at ``root`` from here, whether it runs or not."""

    name: str
    address: str
    address6: str
    directory: Path
    namespace: str
    """Its network namespace, as ``ip netns`` names it; another one after each boot."""
    ssh: tuple[str, ...]
    """The command that logs in as root, to be followed by words for the host's shell."""

    @property
    def root(self) -> Path:
        """The host's ``/``."""
        return self.directory / "root"

    async def finished(self, *command: str, text: str = "", within: float = 60) -> Finished:
        """Run a command in the host as root, with ``text`` as its input."""
        words = (str(SCRIPT), "exec", str(self.directory), *command)
        return await finished(*words, text=text, within=within)

    async def run(self, *command: str, text: str = "", within: float = 60) -> str:
        """Run a command in the host as root, which must succeed; return what it prints."""
        ended = await self.finished(*command, text=text, within=within)
        assert ended.code == 0, (
            f"{self.name}: {' '.join(command)} ended with {ended.code}: "
            f"{ended.errors}{ended.output}"
        )
        return ended.output

    async def write(
        self, path: str, text: str, *, mode: str = "0644", owner: str = "root", group: str = "root"
    ) -> None:
        """Write a file in the host, and the directories above it."""
        as_said = ("-D", "-m", mode, "-o", owner, "-g", group)
        await self.run("install", *as_said, "/dev/stdin", path, text=text)

    async def push(self, *packages: str) -> None:
        """Let ``apt-get install`` of Debian's ``packages`` work in the host."""
        await script("push", str(self.directory), *packages)

    async def reboot(self) -> None:
        """Reboot as an operator does, and return when systemd has started what there is."""
        await script("reboot", str(self.directory))

    async def stop(self) -> None:
        """Shut down."""
        await script("stop", str(self.directory))

    async def start(self) -> None:
        """Boot, and return when systemd has started what there is."""
        await script("start", str(self.directory))


@dataclass(slots=True)
class Bed:
    """Hosts on a bridge.  ``bed["web"]`` is one of them, and iterating gives them all."""

    directory: Path
    bridge: str
    network: ipaddress.IPv4Network
    key: Path
    """The private ssh key of root and of ``admin``, who may sudo."""
    _hosts: dict[str, Host] = field(default_factory=dict)

    def __getitem__(self, name: str) -> Host:
        """Return a host by its name."""
        return self._hosts[name]

    def __iter__(self) -> Iterator[Host]:
        """Return all hosts, the oldest first."""
        return iter(self._hosts.values())

    @property
    def address(self) -> str:
        """The address of this machine as the hosts see it."""
        return str(self.network[1])

    @property
    def address6(self) -> str:
        """Likewise."""
        return str(self._network6[1])

    @property
    def known_hosts(self) -> Path:
        """The public keys of all hosts, for ssh."""
        return self.directory / "known_hosts"

    @property
    def ssh_options(self) -> tuple[str, ...]:
        """What ``ssh``, ``scp`` and ansible's ``ansible_ssh_common_args`` need."""
        known = f"UserKnownHostsFile={self.known_hosts}"
        strict = ("-o", "StrictHostKeyChecking=yes", "-o", "BatchMode=yes")
        return ("-i", str(self.key), "-o", "IdentitiesOnly=yes", "-o", known, *strict)

    async def add(self, name: str, *, layers: Sequence[Path] = (), boot: bool = True) -> Host:
        """Make one more host.

        Args:
            name: its hostname, at most 11 of ``a-z0-9-``.
            layers: directories over the base, the lowest first.  They must stay as they are.
            boot: start it, too.

        """
        host = self._named(name)
        addresses = (f"{host.address}/24", f"{host.address6}/64")
        made = (str(host.directory), self.bridge, host.namespace, *addresses, *map(str, layers))
        await script("make", *made)
        public = (host.root / "etc/ssh/ssh_host_ed25519_key.pub").read_text().split()
        with self.known_hosts.open("a") as file:
            for each in (name, host.address, host.address6):
                file.write(f"{each} {public[0]} {public[1]}\n")
        if boot:
            await host.start()
        return host

    async def remove(self) -> None:
        """Remove all hosts and the bridge."""
        await _remove(self.directory)

    @property
    def _network6(self) -> ipaddress.IPv6Network:
        lowest = int(self.network.network_address)
        return ipaddress.IPv6Network((0xFD78 << 112 | lowest << 64, 64))

    def _named(self, name: str) -> Host:
        number = 11 + len(self._hosts)
        address, address6 = str(self.network[number]), str(self._network6[number])
        ssh = ("ssh", *self.ssh_options, f"root@{address}")
        link = f"{self.bridge}h{len(self._hosts)}"
        host = Host(name, address, address6, self.directory / "hosts" / name, link, ssh)
        assert name not in self._hosts, f"{name} is there already"
        self._hosts[name] = host
        return host


@asynccontextmanager
async def hosts(*names: str, layers: Sequence[Path] = ()) -> AsyncIterator[Bed]:
    """Boot hosts of these names, on a bridge of their own; more may be added."""
    await remove_leftovers()
    number = next(_numbers)
    directory = owned(f"bed{number}")
    directory.mkdir(parents=True)
    bridge = f"mv{os.getpid()}n{number}"
    await script("base", within=600)
    bed = Bed(directory, bridge, await _free_network(number), Path(await script("key")))
    (directory / "bridge").write_text(bridge)
    try:
        await script("bridge", bridge, f"{bed.address}/24", f"{bed.address6}/64")
        # One after the other: that is faster on few cores.
        for name in names:
            await bed.add(name, layers=layers)
        yield bed
    finally:
        await bed.remove()


def owned(name: str) -> Path:
    """Return a path in the cache that the next test run removes if this one does not."""
    return _HOME / f"run-{os.getpid()}-{_started(os.getpid())}" / name


def discard(directory: Path) -> None:
    """Remove a directory that :func:`owned` has named."""
    shutil.rmtree(directory)
    with contextlib.suppress(OSError):  # there is more in it
        directory.parent.rmdir()


@contextmanager
def one_at_a_time(what: str) -> Iterator[None]:
    """Let no other test run do ``what`` meanwhile; nothing else of this one goes on either."""
    _HOME.mkdir(parents=True, exist_ok=True)
    with (_HOME / f".{what}.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


async def remove_leftovers() -> None:
    """Remove what test runs that were killed have left."""
    with one_at_a_time("leftovers"):
        for run_of in _HOME.glob("run-*-*"):
            _, pid, started = run_of.name.split("-")
            if _started(int(pid)) != started:
                for directory in run_of.glob("bed*"):
                    await _remove(directory)
                shutil.rmtree(run_of)


async def _remove(directory: Path) -> None:
    for host in sorted((directory / "hosts").glob("*")):
        await script("remove", str(host))
    bridge = directory / "bridge"
    if bridge.exists():
        await script("unbridge", bridge.read_text())
    discard(directory)


async def _free_network(number: int) -> ipaddress.IPv4Network:
    """Return a /24 that nobody on this machine has, another one for each bed."""
    routes = json.loads(await run("ip", "-4", "-json", "route", "show", "table", "all"))
    taken = list(_networks(each["dst"] for each in routes))
    candidates = list(_NETWORKS.subnets(new_prefix=24))
    first = (os.getpid() * 7 + number) % len(candidates)
    for candidate in candidates[first:] + candidates[:first]:
        if not any(candidate.overlaps(each) for each in taken):
            return candidate
    raise AssertionError(f"no free network in {_NETWORKS}")


def _networks(destinations: Iterable[str]) -> Iterator[ipaddress.IPv4Network]:
    for each in destinations:
        if each not in {"default", "multicast"}:
            yield ipaddress.IPv4Network(each.removeprefix("broadcast "), strict=False)


def _started(pid: int) -> str:
    """Return the kernel's time of a process's start; empty if there is none."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return ""
    return stat.rpartition(")")[2].split()[19]
